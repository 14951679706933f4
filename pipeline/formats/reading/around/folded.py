"""Lines that stand for many: rsyslog writes one for equal ones that came one after another."""

import re
from datetime import datetime

from pipeline.formats.reading.format import OF_PROCESS, Outcome
from pipeline.formats.reading.routes import Route
from schemas.event import Event

_POSTFIX = ("smtpd", "postfix")
REPEATED = "message repeated "
FOLDED = re.compile(rf"{REPEATED}([0-9]{{1,6}}) times: \[ (.*)\]", re.DOTALL)
"""A text that stands for many: (how many, the text of each)."""


def times(outcome: Outcome, folded: re.Match[str]) -> Outcome:
    """The outcome of one of many equal lines, for all of them."""
    if isinstance(outcome, Event):
        outcome.count *= int(folded[1])
    return outcome


def read_body(route: Route, time: datetime, host: str, text: str, pid: str | None) -> Outcome:
    """What stands after a header, or in an envelope, read by its route."""
    folded = FOLDED.fullmatch(text) if text.startswith(REPEATED) else None
    if folded is not None:
        return times(_read_one(route, time, host, folded[2], pid), folded)
    return _read_one(route, time, host, text, pid)


def _read_one(route: Route, time: datetime, host: str, text: str, pid: str | None) -> Outcome:
    first, _, rest = text.partition(": ")
    return route.reader(time, host, route.program, told(route, first, pid), first, rest)


def told(route: Route, first: str, pid: str | None) -> str | None:
    """What a reader is told in place of the service, or with it."""
    if route.told_pid:
        return pid
    if first in OF_PROCESS and route.program in _POSTFIX:
        return f"{route.service or ''}[{pid or ''}]"
    return route.service
