"""Trouble of the server: what it asks about passwords does not answer. Failures meanwhile are nobody's.

* Dovecot's auth process says it once, and again with each vain try to connect, for all who ask it; from then on every
  client is refused, in the same words as for a wrong password.
* Courier's front ends say it before each failure, each for itself.

A login that succeeds ends it: one directory of several may be away for weeks, and must not hide guessing. While it
lasts, guesses cannot succeed either.
"""

from typing import Final

from pipeline.formats.reading.programs import SASL
from pipeline.normalize.generations import Key
from schemas.event import Event

SHORT, LONG, BEFORE = 2.0, 60.0, 3.0  # seconds: after Courier's line; after Dovecot's; before either
_HOSTS: Final = 4096

OutageState = list[tuple[Key, float]]


class Outages:
    """When a program of each host was in trouble last."""

    def __init__(self) -> None:
        self._trouble: dict[Key, float] = {}

    def __bool__(self) -> bool:
        return bool(self._trouble)

    def trouble(self, event: Event) -> None:
        """A program says that what it asks does not answer."""
        if len(self._trouble) >= _HOSTS:
            self._trouble.clear()
        self._trouble[event.host, "" if event.program in SASL else event.program] = event.time.timestamp()

    def success(self, event: Event) -> None:
        """Somebody was let in: the host's passwords can be asked for."""
        self._trouble.pop((event.host, ""), None)

    def see(self, event: Event) -> None:
        """Gives a failure another ``reason`` if it is of an outage."""
        for name, lasts in (("", LONG), (event.program, SHORT)):
            last = self._trouble.get((event.host, name))
            if last is not None and -BEFORE <= event.time.timestamp() - last <= lasts:
                event.reason = "temporary"

    def dump(self) -> OutageState:
        """The state."""
        return list(self._trouble.items())

    def load(self, dumped: OutageState) -> None:
        """Inverse of ``dump``."""
        self._trouble = dict(dumped)
