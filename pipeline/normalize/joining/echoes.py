"""Failures that two programs log: a front end, and the one that it asked about the password.

PAM, saslauthd and authdaemond know the account and seldom the address. Where the front end's failures with account
and address are there too, theirs are echoes: they say nothing new and do not count.

Courier writes the same line for a wrong password and for an authdaemond that does not answer, after a line that says
so: its failures of the next seconds are trouble of the server, not guessing.
"""

from pipeline.formats.reading.programs import ASKED, MTAS, SASL, SMTP_AUTH
from pipeline.normalize.joining.generations import Key
from schemas.event import Event

REMEMBERED = 600.0  # seconds for which a front end is known to log its failures
TROUBLE = 2.0
_HOSTS = 4096

EchoState = tuple[list[tuple[Key, float]], list[tuple[Key, float]]]


class Echoes:
    """What is known of the front ends of each host: when they last logged a failure, when they were in trouble."""

    def __init__(self) -> None:
        self._told: dict[Key, float] = {}
        self._trouble: dict[Key, float] = {}

    def trouble(self, event: Event) -> None:
        """A program says that what it asks does not answer."""
        self._put(self._trouble, (event.host, event.program), event)

    def see(self, event: Event) -> None:
        """Completes a failure in place: it is told if it is an echo, and gets another ``reason`` if it is trouble."""
        key = (event.host, _entrance(event))
        unnamed = event.session is None and event.service is None
        if event.program in ASKED or (unnamed and event.program in SASL):
            last = self._told.get(key)
            if last is not None and abs(event.time.timestamp() - last) <= REMEMBERED:
                event.told_before()
        elif event.account and event.client_ip:
            self._put(self._told, key, event)
        if self._trouble:
            last = self._trouble.get((event.host, event.program))
            if last is not None and 0 <= event.time.timestamp() - last <= TROUBLE:
                event.reason = "temporary"

    @staticmethod
    def _put(times: dict[Key, float], key: Key, event: Event) -> None:
        if len(times) >= _HOSTS:
            times.clear()
        times[key] = event.time.timestamp()

    def dump(self) -> EchoState:
        """The state."""
        return list(self._told.items()), list(self._trouble.items())

    def load(self, dumped: EchoState) -> None:
        """Inverse of ``dump``."""
        self._told, self._trouble = dict(dumped[0]), dict(dumped[1])


def _entrance(event: Event) -> str:
    """Where the client came in: a front end of one entrance tells nothing of another."""
    if event.program in MTAS or event.service in SMTP_AUTH:
        return "smtp"
    return "webmail" if event.service == "webmail" else "access"
