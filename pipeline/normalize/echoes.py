"""Failures that two programs log: a front end, and the one that it asked about the password.

PAM, saslauthd and authdaemond know the account and seldom the address. Where the front end's failures with account
and address are there too, theirs say nothing new and do not count.

Courier writes the same line for a wrong password and for an authdaemond that does not answer, after a line that says
so: its failures of the next seconds are trouble of the server, not guessing.
"""

from schemas.event import Event

ASKED = frozenset(("saslauthd", "authdaemond", "dovecot-auth"))
"""Programs that front ends ask. Dovecot's ``auth`` is both: lines of PAM name neither service nor session."""
REMEMBERED = 600.0  # seconds for which a front end is known to log its failures
TROUBLE = 2.0
_HOSTS = 4096
_SMTP = frozenset(("smtp", "smtps", "submission"))

Key = tuple[str, str]
Dump = tuple[list[tuple[Key, float]], list[tuple[Key, float]]]


class Failures:
    """What is known of the front ends of each host: when they last logged a failure, when they were in trouble."""

    def __init__(self) -> None:
        self._told: dict[Key, float] = {}
        self._trouble: dict[Key, float] = {}

    def trouble(self, event: Event) -> None:
        """A program says that what it asks does not answer."""
        self._put(self._trouble, (event.host, event.program), event)

    def see(self, event: Event) -> None:
        """Completes a failure in place: its ``count`` if it is an echo, its ``reason`` if it is trouble."""
        kind = "smtp" if event.service in _SMTP else "webmail" if event.service == "webmail" else "access"
        asked = event.program == "auth" and event.session is None and event.service is None
        if asked or event.program in ASKED:
            last = self._told.get((event.host, kind))
            if last is not None and abs(event.time.timestamp() - last) <= REMEMBERED:
                event.count = 0
        elif event.account and event.client_ip:
            self._put(self._told, (event.host, kind), event)
        if self._trouble:
            last = self._trouble.get((event.host, event.program))
            if last is not None and 0 <= event.time.timestamp() - last <= TROUBLE:
                event.reason = "temporary"

    @staticmethod
    def _put(times: dict[Key, float], key: Key, event: Event) -> None:
        if len(times) >= _HOSTS:
            times.clear()
        times[key] = event.time.timestamp()

    def dump(self) -> Dump:
        """The state."""
        return list(self._told.items()), list(self._trouble.items())

    def load(self, dumped: Dump) -> None:
        """Inverse of ``dump``."""
        self._told, self._trouble = dict(dumped[0]), dict(dumped[1])
