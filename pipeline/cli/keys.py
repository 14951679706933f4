"""``sekimori keys``: who may decide. Keys are made here, and held against the list of those that are trusted."""

from pathlib import Path

import click

from pipeline.adapters.kafka.security.signing import ROLES, Role, Signer, Verifier, entry, new_key
from pipeline.cli.common import clear_errors
from pipeline.cli.configured import settings_in_force


@click.group()
def keys() -> None:
    """Makes and checks the keys that decisions are signed with.

    With SEKIMORI_TRUSTED_KEYS agents and jobs obey only what is signed with a key of that file. Who writes signs with
    SEKIMORI_SIGNING_KEY: the detector with a key of the role detect, each operator with one of the role operator.
    """


@keys.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--role",
    type=click.Choice(ROLES),
    required=True,
    help="detect: decides by rules, and clears away what is over. operator: everything.",
)
def new(file: Path, role: Role) -> None:
    """Writes a new private key to FILE, for you only, and prints what goes into the file of trusted keys.

    The key is called as the file without its ending: hana-2026.pem has the name hana-2026.
    """
    with clear_errors():
        try:
            trusted = new_key(file, role)
        except FileExistsError:
            raise click.ClickException(f"{file} is there already; a key is never written over") from None
    click.echo(trusted, nl=False)
    click.echo(f"{file} is secret. What is printed above goes into SEKIMORI_TRUSTED_KEYS, everywhere.", err=True)


@keys.command()
def check() -> None:
    """Tells who is trusted, and whether what is signed here is obeyed."""
    settings = settings_in_force()
    with clear_errors():
        signer = Signer.read(settings.signing_key) if settings.signing_key else None
        verifier = Verifier.read(settings.trusted_keys) if settings.trusted_keys else None
    if verifier is None:
        click.echo("SEKIMORI_TRUSTED_KEYS is not set: here whatever the topics say is obeyed.")
    else:
        for name, (role, _) in sorted(verifier.keys.items()):
            click.echo(f"{name}: trusted as {role}")
    if signer is None:
        click.echo("SEKIMORI_SIGNING_KEY is not set: nothing is signed here.")
    if signer is None or verifier is None:
        return
    why = verifier.why_mute(signer)
    if why:
        wanted = entry(signer, "operator")
        raise click.ClickException(f"{why}; to trust it, add this to {settings.trusted_keys}, with its role:\n{wanted}")
    click.echo(f"{signer.name} signs here, and is obeyed as {verifier.keys[signer.name][0]}.")
