"""Stamps of hosts whose clock, or zone, is wrong: held against the time at which their lines arrived.

A line cannot have been written after it arrived. A stamp ahead of that is moved: one odd line would otherwise make all
other lines of its account, network and country look late, and late lines are not judged. Where lines arrive as they
are written, the stamp goes to the time of arrival, and the lines of one host keep their distances; in a log file, whose
time of change is all that is known, it goes to the time of the lines beside it.

A stamp behind may be right: lines wait when a broker or a network is away. Only a host that is behind by the same whole
quarter of an hour for as long as ``PROVEN`` has a wrong zone and nothing else (no queue shrinks and grows by the
quarter), and only while lines arrive as they are written is there a time to hold them against.

Of the hour that is repeated at the end of summer time, stamps without a zone say the same twice. The reader takes the
second time for meant (``datetime.fold``) where it can have been. Here the order of lines tells: a host's lines go on
where they were, and only a step back by an hour begins the second time. Lines that arrive as they are written need no
such guess.

Whom this can hurt: lines that wait for exactly so many quarters, all of them, for five minutes on end, are counted as
if they were new, at most once. What an attacker can do with it: nothing, unless he writes to the log as a host.
"""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from schemas.event import Event
from schemas.tally import LAST_TIME

TOLERANCE = 120.0  # seconds that two right clocks, and the way from a line to its message, may differ by
QUARTER = 900
PROVEN = 300.0  # seconds of arrival for which a host must be behind by the same quarters
EARLY, LATE = 30.0, 60.0  # seconds around a whole quarter that count as one
STEADY = 30.0  # seconds by which it may vary meanwhile
ODD = timedelta(seconds=600)  # less is within what late lines are judged back to
REPEATED = timedelta(hours=1)
JITTER = timedelta(seconds=300)  # by which lines of a host may step back
HOSTS = 4096


class Moved(NamedTuple):
    """How many lines got another time, and by host the seconds that it was ahead at most (less than 0: behind).
    ``left``: lines ahead that kept theirs."""

    lines: int
    hosts: dict[str, int]
    left: int = 0


NOTHING = Moved(0, {})


class HostClock(msgspec.Struct, array_like=True, gc=False):
    """What is known of a host. ``ahead``: seconds that are taken off its stamps ahead, and the time of arrival since
    which it was ahead by just that. ``behind``: seconds that are added to its stamps. ``quarters``: how far behind its
    last line was, the time of arrival since which all were, and the least and most seconds that they were behind."""

    ahead: float = 0.0
    ahead_since: float = 0.0
    behind: int = 0
    quarters: int = 0
    quarters_since: float = 0.0
    least: float = 0.0
    most: float = 0.0


class Clocks:
    """The clocks of the hosts of one source, ``HOSTS`` at most; who is forgotten is found out anew."""

    def __init__(self) -> None:
        self._hosts: dict[str, HostClock] = {}
        self._late: dict[str, int] = {}  # of those that are behind, the seconds
        self._beside: datetime | None = None  # of a file, the time of the last line that can be right
        self._odd: set[str] = set()  # hosts that had such a line after one that cannot
        self._last: dict[str, datetime] = {}  # of hosts, the time of a line shortly before

    def hold(
        self, events: list[Event], newest: datetime, reference: float, live: bool, repeated: bool = False
    ) -> Moved:
        """Moves stamps of a frame in place, and learns from them. ``newest``: the latest of them. ``repeated``: some
        are of a repeated hour. ``reference``: seconds since 1970 at which the lines arrived. ``live``: they arrived as
        they were written."""
        hosts: dict[str, int] = {}
        lines = 0
        if repeated:
            self._tell_hours(events, reference, live)
        host, last = events[-1].host, events[-1].time
        if len(self._last) >= HOSTS:
            self._last.clear()
        self._last[host] = last
        latest = _time(reference + TOLERANCE)
        if newest > latest:
            lines += (self._hold_back if live else self._put_beside)(events, latest, reference, hosts)
        else:
            self._beside = last
        if live:
            if self._late:
                lines += self._bring_up(events, latest, hosts)
            self._learn(host, reference - last.timestamp(), reference)
        left = sum(event.time > latest for event in events) if newest > latest else 0
        return Moved(lines, hosts, left) if lines or left else NOTHING

    def _tell_hours(self, events: list[Event], reference: float, live: bool) -> None:
        """Takes an hour off stamps of a repeated hour whose host is still in its first time."""
        for event in events:
            before = self._last.get(event.host)
            now = live and reference - event.time.timestamp() <= TOLERANCE
            if event.time.fold and not now and before is not None and event.time - REPEATED >= before - JITTER:
                event.time = event.time.replace(fold=0) - REPEATED
            self._last[event.host] = event.time

    def _hold_back(self, events: list[Event], latest: datetime, reference: float, hosts: dict[str, int]) -> int:
        """Of lines that arrived as they were written."""
        lines = 0
        for event in events:
            if event.time > latest:
                ahead = event.time.timestamp() - reference
                event.time -= timedelta(seconds=self._ahead(event.host, ahead, reference))
                hosts[event.host] = max(int(ahead), hosts.get(event.host, 0))
                lines += 1
        return lines

    def _put_beside(self, events: list[Event], latest: datetime, reference: float, hosts: dict[str, int]) -> int:
        """Of lines of a file: a stamp ahead of its change is odd only where the lines beside it are not. Where none
        after it is possible either, the file's time is what is wrong, or the zone that it is read in."""
        lines = 0
        possible = [event.time <= latest for event in events]
        last = max((place for place, well in enumerate(possible) if well), default=-1)
        if self._beside is None and last >= 0:
            self._beside = events[possible.index(True)].time
        for place, (event, well) in enumerate(zip(events, possible, strict=True)):
            if well:
                self._beside = event.time
                continue
            odd = place < last or event.host in self._odd
            if odd and self._beside is not None and event.time - self._beside > ODD:
                hosts[event.host] = max(int(event.time.timestamp() - reference), hosts.get(event.host, 0))
                event.time = self._beside
                lines += 1
        self._odd = {*self._odd, *hosts} if len(self._odd) < HOSTS else set(hosts)
        return lines

    def _ahead(self, host: str, ahead: float, reference: float) -> float:
        """What is taken off a stamp that lies ``ahead``: as much as off the stamps before, if that can be right."""
        clock = self._known(host)
        steady = clock.ahead - TOLERANCE <= ahead <= clock.ahead + TOLERANCE
        if not steady and not (ahead < clock.ahead and reference - clock.ahead_since >= PROVEN):
            clock.ahead, clock.ahead_since = ahead, reference
        return clock.ahead

    def _bring_up(self, events: list[Event], latest: datetime, hosts: dict[str, int]) -> int:
        lines = 0
        for event in events:
            behind = self._late.get(event.host)
            if behind is None or hosts.get(event.host, -1) > 0:
                continue
            time = event.time + timedelta(seconds=behind)
            if time <= latest:
                event.time = time
                hosts[event.host] = -behind
                lines += 1
        return lines

    def _learn(self, host: str, behind: float, reference: float) -> None:
        """The last line of a frame that arrives as it is written is as old as the way that it came."""
        quarters = int((behind + EARLY) // QUARTER)
        if quarters < 1 or behind - quarters * QUARTER > LATE:
            quarters = 0
        clock = self._hosts.get(host)
        if clock is None:
            if not quarters:
                return
            clock = self._known(host)
        if abs(behind) <= TOLERANCE:
            clock.ahead = 0.0  # it is right, or was set right
        if clock.behind and behind < clock.behind - EARLY:
            clock.behind = 0
            del self._late[host]
        clock.least, clock.most = min(behind, clock.least), max(behind, clock.most)
        if quarters != clock.quarters or clock.most - clock.least > STEADY:
            clock.quarters, clock.quarters_since, clock.least, clock.most = quarters, reference, behind, behind
        elif quarters and reference - clock.quarters_since >= PROVEN:
            clock.behind = self._late[host] = quarters * QUARTER

    def _known(self, host: str) -> HostClock:
        if len(self._hosts) >= HOSTS and host not in self._hosts:
            self._hosts.clear()
            self._late.clear()
        return self._hosts.setdefault(host, HostClock())

    def wrong(self) -> dict[str, int]:
        """The hosts whose clock or zone is wrong, with the seconds that they are ahead (less than 0: behind)."""
        return {
            host: int(clock.ahead) or -clock.behind
            for host, clock in self._hosts.items()
            if clock.ahead or clock.behind
        }

    def dump(self) -> dict[str, HostClock]:
        """The state."""
        return self._hosts

    def load(self, dumped: dict[str, HostClock]) -> None:
        """Inverse of ``dump``."""
        self._hosts = dumped
        self._late = {host: clock.behind for host, clock in dumped.items() if clock.behind}


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), LAST_TIME - 1), UTC)
