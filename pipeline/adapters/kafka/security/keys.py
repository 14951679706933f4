"""The keys of a process: what it signs with, and whom it believes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pipeline.ports import Headers, Record
from pipeline.settings import Settings, SettingsError
from schemas.enforcement import SIGNATURE
from schemas.topics import ENFORCEMENT, SETTINGS

if TYPE_CHECKING:
    from pipeline.adapters.kafka.security.signing import Refusal, Signer, Verifier

SIGNED: Final = frozenset({ENFORCEMENT.name, SETTINGS.name})
"""The topics on which it matters who said so."""


@dataclass(frozen=True)
class Keys:
    """``signer``: None: nothing is signed. ``verifier``: None: whatever comes is obeyed."""

    signer: "Signer | None" = None
    verifier: "Verifier | None" = None

    def signed(self, topic: str, key: bytes | None, value: bytes | None, headers: Headers) -> Headers:
        """The headers to send a message with. What is signed already is passed on as it is."""
        if self.signer is None or topic not in SIGNED or any(name == SIGNATURE for name, _ in headers):
            return headers
        return self.signer(topic, key or b"", value, headers)

    def refusal(self, record: Record) -> "Refusal | None":
        """Why a message is not to be obeyed; None if it is."""
        return None if self.verifier is None or record.topic not in SIGNED else self.verifier.refusal(record)

    def check_writer(self) -> None:
        """Raises SettingsError if nobody would obey what this process writes."""
        if self.verifier is None:
            return
        if self.signer is None:
            raise SettingsError(
                "SEKIMORI_SIGNING_KEY: is missing; with SEKIMORI_TRUSTED_KEYS nobody obeys what is not signed"
            )
        why = self.verifier.why_mute(self.signer)
        if why:
            raise SettingsError(f"SEKIMORI_SIGNING_KEY: {why} (SEKIMORI_TRUSTED_KEYS); see: sekimori keys check")


NO_KEYS: Final = Keys()


def keys_of(settings: Settings) -> Keys:
    """Reads the files. Raises SettingsError."""
    if settings.signing_key is None and settings.trusted_keys is None:
        return NO_KEYS
    from pipeline.adapters.kafka.security.signing import Signer, Verifier  # noqa: PLC0415  # slow to import

    return Keys(
        Signer.read(settings.signing_key) if settings.signing_key else None,
        Verifier.read(settings.trusted_keys) if settings.trusted_keys else None,
    )
