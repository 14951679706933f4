"""Keys for tests: of the detector and of operators, and of one whom nobody trusts."""

from collections.abc import Iterable
from pathlib import Path

from pipeline.adapters.kafka.security.keys import Keys
from pipeline.adapters.kafka.security.signing import Role, Signer, Verifier, new_key
from pipeline.ports import Headers, Record


class Keyring:
    """Files in ``folder``: ``detect-1.pem``, ``operator-1.pem``, ``operator-2.pem``, ``stranger.pem``."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        roles: dict[str, Role] = {"detect-1": "detect", "operator-1": "operator", "operator-2": "operator"}
        self.folder = folder
        self._entries = {name: new_key(self.path(name), role) for name, role in roles.items()}
        new_key(self.path("stranger"), "operator")

    def path(self, name: str) -> Path:
        """Of a private key."""
        return self.folder / f"{name}.pem"

    def trusting(self, *names: str) -> Path:
        """A list of trusted keys."""
        path = self.folder / f"{'+'.join(names)}.toml"
        path.write_text("\n".join(self._entries[name] for name in names))
        return path

    def keys(self, signer: str = "", trusted: Iterable[str] = ("detect-1", "operator-1")) -> Keys:
        """Of a process that signs with one key, and trusts others."""
        verifier = Verifier.read(self.trusting(*trusted)) if trusted else None
        return Keys(Signer.read(self.path(signer)) if signer else None, verifier)

    def record(
        self, signer: str, topic: str, key: str, value: bytes | None, headers: Headers = (), written: float = 0
    ) -> Record:
        """A message; "": signed by nobody. ``written``: seconds since 1970."""
        signed = self.keys(signer, ()).signed(topic, key.encode(), value, headers)
        return Record(topic, 0, 0, int(written * 1000), key.encode(), value, tuple(signed))
