"""Whom a process obeys: what its keys do not let pass is counted, and told."""

import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import structlog

from pipeline.adapters.kafka.security.keys import Keys
from pipeline.metrics import Recorder
from pipeline.ports import Record

if TYPE_CHECKING:
    from pipeline.adapters.kafka.security.signing import Refusal

AGAIN: Final = 60.0  # seconds between two warnings
_log = structlog.get_logger()


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
