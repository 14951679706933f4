"""Who is never restricted: from the rules file, and by operators."""

import ipaddress
from collections.abc import Callable, Mapping

from pipeline.rules.config import Allow
from schemas.tally import Tally

Granted = Mapping[tuple[str, str], float]
"""(kind, subject) -> end in seconds since 1970."""


class Allowlist:
    """Who is never restricted, whatever is found."""

    def __init__(self, allow: Allow, granted: Callable[[], Granted] = dict) -> None:
        """``granted``: gives the entries made by operators."""
        self._accounts = frozenset(account.lower() for account in allow.accounts)
        self._networks = tuple(ipaddress.ip_network(text) for text in allow.addresses)
        self._countries = frozenset(allow.countries)
        self._granted = granted

    def covers(self, tally: Tally) -> bool:
        """Is the tally's subject allowlisted at the time of the tally?"""
        if tally.kind == "account":
            return tally.subject in self._accounts or self._is_granted("account", tally.subject, tally.at)
        if tally.kind == "country" or (tally.kind == "ip" and tally.country):
            country = tally.country or tally.subject
            if country in self._countries or self._is_granted("country", country, tally.at):
                return True
        return tally.kind == "ip" and self._covers_network(tally)

    def _covers_network(self, tally: Tally) -> bool:
        network = ipaddress.ip_network(tally.subject)
        granted = (
            ipaddress.ip_network(subject)
            for kind, subject in self._granted()
            if kind in ("ip", "prefix") and self._is_granted(kind, subject, tally.at)
        )
        return any(
            network.version == other.version and (network.subnet_of(other) or other.subnet_of(network))  # type: ignore[arg-type]
            for other in (*self._networks, *granted)
        )

    def _is_granted(self, kind: str, subject: str, at: float) -> bool:
        return self._granted().get((kind, subject), 0.0) > at
