"""Failures that two programs log: a front end, and the one that it asked about the password.

PAM, saslauthd and authdaemond know the account and seldom the address. Where the front end's failures with account
and address are there too, theirs are echoes: they say nothing new and do not count.
"""

from typing import Final

from pipeline.formats.reading.programs import ASKED, MTAS, SASL, SMTP_AUTH
from pipeline.normalize.generations import Key
from schemas.event import Event

REMEMBERED: Final = 600.0  # seconds for which a front end is known to log its failures
_ENTRANCES: Final = 4096

FrontEndState = list[tuple[Key, float]]


class FrontEnds:
    """When the front ends of each host last logged a failure."""

    def __init__(self) -> None:
        self._told: dict[Key, float] = {}

    def note(self, event: Event) -> None:
        """A front end tells a failure, with its account and address."""
        if len(self._told) >= _ENTRANCES:
            self._told.clear()
        self._told[event.host, entrance(event)] = event.time.timestamp()

    def tell(self, event: Event) -> bool:
        """Does the front end of what ``may_echo`` tell its failures?"""
        last = self._told.get((event.host, entrance(event)))
        return last is not None and abs(event.time.timestamp() - last) <= REMEMBERED

    def dump(self) -> FrontEndState:
        """The state."""
        return list(self._told.items())

    def load(self, dumped: FrontEndState) -> None:
        """Inverse of ``dump``."""
        self._told = dict(dumped)


def may_echo(event: Event) -> bool:
    """Is a failure of one who was asked, and who does not say in which session?"""
    return event.program in ASKED or (event.session is None and event.service is None and event.program in SASL)


def entrance(event: Event) -> str:
    """Where the client came in: a front end of one entrance tells nothing of another."""
    if event.program in MTAS or event.service in SMTP_AUTH:
        return "smtp"
    return "webmail" if event.service == "webmail" else "access"
