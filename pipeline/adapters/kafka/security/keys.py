"""The keys of a process: what it signs with, and whom it believes. What is not obeyed is counted, and told."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from pipeline.metrics import Recorder
from pipeline.ports import Headers, Record
from pipeline.settings import Settings, SettingsError
from schemas.enforcement import SIGNATURE
from schemas.topics import ENFORCEMENT, SETTINGS

if TYPE_CHECKING:
    from pipeline.adapters.kafka.security.signing import Refusal, Signer, Verifier

SIGNED: Final = frozenset({ENFORCEMENT.name, SETTINGS.name})
"""The topics on which it matters who said so."""
AGAIN: Final = 60.0  # seconds between two warnings
_log = structlog.get_logger()


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


class Gate:
    """Lets pass what is to be obeyed. What is not is counted, and told once in ``AGAIN`` seconds, with how many others
    there were. ``is_open``: everything passes."""

    def __init__(self, keys: Keys, recorder: Recorder, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys, self._recorder, self._monotonic = keys, recorder, monotonic
        self.is_open = keys.verifier is None
        self._untold: Counter[str] = Counter()
        self._told_at = float("-inf")

    def passes(self, record: Record) -> bool:
        """Is it to be obeyed, by its signature?"""
        return not self.why_not(record)

    def why_not(self, record: Record) -> str:
        """Why it is not to be obeyed; "" if it is."""
        refusal = self._keys.refusal(record)
        if refusal is None:
            return ""
        self._note(record, refusal)
        return refusal.why

    def _note(self, record: Record, refusal: "Refusal") -> None:
        self._recorder.add("sekimori_signature_refusals_total", 1, record.topic, refusal.reason)
        self._untold[refusal.reason] += 1
        if self._monotonic() >= self._told_at + AGAIN:
            place = f"{record.topic}-{record.partition}@{record.offset}"
            key = (record.key or b"")[:200].decode("utf-8", "backslashreplace")
            _log.error("message_not_obeyed", place=place, key=key, why=refusal.why, since_last_told=dict(self._untold))
            self._untold.clear()
            self._told_at = self._monotonic()
