"""Who is never restricted: from the rules file, and by operators; ourselves by nobody but operators."""

from collections.abc import Callable
from typing import Final

from pipeline.detect.granted import Granted
from pipeline.rules import RuleSet
from pipeline.rules.config import Allow
from schemas.tally import Tally

_NOBODY: Final = Granted()


class Allowlist:
    """Who is never restricted, whatever is found."""

    def __init__(self, allow: Allow, granted: Callable[[], Granted] = lambda: _NOBODY) -> None:
        """``allow``: of the rules file; ``granted``: gives the entries made by operators."""
        self._file = Granted()
        for account in allow.accounts:
            self._file.grant("account", account)
        for address in allow.addresses:
            self._file.grant("prefix", address)
        for country in allow.countries:
            self._file.grant("country", country)
        self._granted = granted

    def covers(self, tally: Tally) -> bool:
        """Is the tally's subject allowlisted at the time of the tally?"""
        return self._file.covers(tally) or self._granted().covers(tally)


class Ours:
    """Our own country and hosts: no rule restricts them, whatever is found; an operator may, if he insists."""

    def __init__(self, rules: RuleSet) -> None:
        self._home = rules.home
        self._hosts = Granted()
        for host in (*rules.file.trusted.hosts, *rules.file.trusted.webmail):
            self._hosts.grant("prefix", host)

    def covers(self, tally: Tally) -> bool:
        """Is the tally's subject one of ours?"""
        if tally.kind == "country":
            return tally.subject == self._home
        return tally.kind == "ip" and self._hosts.covers(tally)
