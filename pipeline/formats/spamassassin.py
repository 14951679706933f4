"""SpamAssassin's spamd: ``spamd: clean message (score/required) for user:uid …`` and ``spamd: result: …`` (spamd.raw).

Both lines speak of the same scan; only the second names the message id, with blanks and commas replaced.
"""

import re
from datetime import datetime

from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role
from schemas.event import Event

_SCORE = re.compile(
    r"(?P<what>clean message|identified spam) \((?P<score>-?[0-9.]+/-?[0-9.]+)\) for .*:[0-9]+ in [0-9.]+ seconds, "
    r"(?P<size>[0-9]{1,18}) bytes\.\s*",
    re.DOTALL,
)
_RESULT = re.compile(
    r"result: (?P<spam>[Y.]) +(?P<score>-?[0-9]+) - (?P<tests>[\w,]*) scantime=[0-9.]+,size=(?P<size>[0-9]{1,18}),"
    r"user=.*?,uid=[0-9]+,required_score=(?P<required>-?[0-9.]+),rhost=[^,]*,raddr=[^,]*,rport=[^,]*,mid=(?P<mid>[^\s,]*)"
    r"(?:,.*)?",
    re.DOTALL,
)
_PROCESSING = re.compile(r"(?:processing|checking) message (?P<mid>\S+)(?: aka \S+)? for .*", re.DOTALL)
_UNKNOWN = ("(unknown)", "unknown")


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of spamd."""
    event = Event("other", time, host, program)
    if first != "spamd":
        return event
    score = _SCORE.fullmatch(rest)
    if score is not None:
        event.status, event.reason = "clean" if score["what"] == "clean message" else "spam", score["score"]
        event.size = int(score["size"])
        return event
    result = _RESULT.fullmatch(rest)
    if result is not None:
        event.status = "spam" if result["spam"] == "Y" else "clean"
        event.reason, event.size = f"{result['score']}/{result['required']}", int(result["size"])
        event.message_id = _message_id(result["mid"])
        return event
    processing = _PROCESSING.fullmatch(rest)
    if processing is not None:
        event.message_id = _message_id(processing["mid"])
    return event


def _message_id(text: str) -> str | None:
    return None if text in _UNKNOWN else text.removeprefix("<").removesuffix(">") or None


FORMAT = Format(
    "spamassassin",
    Role.FILTER,
    {"spamd": read},
    clients=(ClientText("message id", r"mid=<([^<>]*)>|message <([^<>]*)>", Escape.GRAPHIC),),
)
