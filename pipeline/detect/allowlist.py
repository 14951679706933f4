"""Who is never restricted: from the rules file, and by operators; ourselves by nobody but operators."""

from collections.abc import Callable, Iterable
from typing import Final

from pipeline.detect.granted import Granted
from pipeline.rules import RuleSet
from pipeline.rules.config import Allow
from pipeline.windows.layout import SEEN, Entry
from schemas.tally import Tally

_NOBODY: Final = Granted()
_PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")  # RFC 1918, RFC 4193
GATEWAY: Final = 4  # accounts that log in well from a private address that is no single customer's


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
        self._private = Granted()
        for prefix in _PRIVATE:
            self._private.grant("prefix", prefix)

    def may_be_gateway(self, tally: Tally, found: Iterable[Entry]) -> bool:
        """Is the tally's subject a private address from where several accounts log in well? Most likely it is a host of
        our own that nobody has named: a container network's gateway, a webmail, a proxy. ``found``: all that is
        remembered of it."""
        if tally.kind != "ip" or not self._private.covers(tally):
            return False
        return sum(entry[1] == SEEN for entry in found) >= GATEWAY

    def covers(self, tally: Tally) -> bool:
        """Is the tally's subject one of ours?"""
        if tally.kind == "country":
            return tally.subject == self._home
        return tally.kind == "ip" and self._hosts.covers(tally)
