"""Roundcube 0.9 to 1.6 (rcube.php, rcmail.php, rcube_imap.php): ``userlogins``, ``errors``, ``sendmail``.

As files, through syslog, or on standard output. The user of a failed login is the client's text, and so are the
forwarding headers in parentheses: where they imitate the line there is neither account nor address. ``session`` is
the start of the browser session's id, by which the two lines of one failure are joined.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Session, Unreadable
from pipeline.formats.reading.proxies import real_address
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "roundcube"
_BARE = re.compile(r"\[(?P<time>[^\[\]]{10,40})\]: (?P<text>.*)", re.DOTALL)
_SESSION = re.compile(r"<(?P<session>[A-Za-z0-9,-]{1,128})> ")
_PEER = re.compile(
    r"(?P<ip>[^\s()]+)(?: ?\((?:X-Real-IP: (?P<real>[^()]*?))?(?:,?X-Forwarded-For: (?P<forwarded>[^()]*))?\))?"
)
_LOGIN_END = re.compile(r"(?P<left>.*?)(?: in session \S+)?(?: \(error: (?P<error>-?[0-9]+)\))?", re.DOTALL)
_ERROR_END = re.compile(r"(?P<peer>[^\s()]+?(?: ?\([^()]*\))?)\. (?P<why>.*)", re.DOTALL)
_MOST = 8  # times that a line may hold the word
_ID = re.compile(r" \((?:ID|id):? [0-9]+\)")
_QUEUED = re.compile(r"(?:queued as |OK id=|: 2\.0\.0:? )(?P<id>[A-Za-z0-9-]{5,30})(?: Message accepted for delivery)?")
_METHOD = re.compile(r"(?:AUTHENTICATE )?(?P<method>[A-Z0-9-]{4,20}): ")
_ERRORS: dict[str, AuthReason] = {
    "0": "password", "1": "aborted", "2": "policy", "3": "aborted", "4": "policy", "-2": "temporary",
}  # fmt: skip
_WHY: tuple[tuple[str, AuthReason], ...] = (
    ("temporar", "temporary"),
    ("unavailable", "temporary"),
    ("connect", "temporary"),
    ("timed out", "temporary"),
    ("timeout", "temporary"),
    ("empty startup greeting", "temporary"),
    ("internal error", "temporary"),
    ("try again", "temporary"),
    ("disabled", "disabled"),
    ("expired", "disabled"),
    ("mechanism", "mechanism"),
)


def read_line(line: str, stamps: Stamps) -> Outcome:
    """A line of a log file."""
    match = _BARE.fullmatch(line)
    if match is None:
        return None
    time = stamps.dmy(match["time"]) or stamps.iso(match["time"])
    event = Event("other", time or stamps.dmy("01-Jan-1970 00:00:00 +0000"), "", _NAME)  # type: ignore[arg-type]  # it is one
    outcome = _read(event, match["text"])
    return Unreadable(_NAME, "there is no such date or time") if time is None and outcome is not None else outcome


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line of syslog, or of standard output under the log's name."""
    return _read(Event("other", time, host, _NAME), f"{first}: {rest}" if rest else first)


def _read(event: Event, text: str) -> Outcome:
    session = _SESSION.match(text)
    if session is not None:
        text, event.session = text[session.end() :], session["session"]
    event.service = "webmail"
    verb, found, said = text.partition(" login for ")
    if found and verb in ("Failed", "FAILED"):
        event.kind = "auth_failure"
        return _login(event, said)
    if found and verb == "Successful":
        event.kind = "auth_success"
        return _login(event, said)
    verb, found, said = text.partition("Login failed for ")
    if found and verb in ("", "IMAP Error: "):
        return _error(event, said)
    if text.startswith("User ") and "]; Message " in text:
        return _sent(event, text)
    return None


def _login(event: Event, said: str) -> Outcome:
    end = _LOGIN_END.fullmatch(said)
    user, found, peer = end["left"].rpartition(" from ") if end else ("", "", "")
    if end is None or not found:
        return Unreadable(_NAME, "login without an address")
    if event.kind == "auth_failure":
        event.reason = _ERRORS.get(end["error"] or "0", "unknown")
    return _peer(event, _ID.sub("", user) if event.kind == "auth_success" else user, peer, said)


def _error(event: Event, said: str) -> Outcome:
    event.kind, event.reason = "auth_failure", "unknown"
    if said.count(" from ") > _MOST or _imitated(said) or said.count("). ") > ("(X-" in said):
        return event
    ends = _ends(said)
    if not ends:
        return Unreadable(_NAME, "login without an address")
    user, end = ends[-1]
    answered = [_METHOD.match(its["why"]) for _, its in ends]
    method = answered[-1]
    if any(answered[:-1]):  # one is in the user's name, or in what the server answered
        return event
    event.method = method["method"] if method else "IMAP"
    low = end["why"].rpartition(" in /")[0].lower()
    account, found, server = user.rpartition(" against ")
    if found and " " not in server:
        user = account
    if any(words in user.lower() for words, _ in _WHY):
        low = low.replace(user.lower(), "")  # a server may repeat the name
    event.reason = next((reason for words, reason in _WHY if words in low), "password" if method else "temporary")
    return _peer(event, user, end["peer"], said)


def _ends(said: str) -> list[tuple[str, re.Match[str]]]:
    """Each place where the user may end: (what is left of it, address and answer right of it)."""
    words = said.split(" from ")
    found = []
    for place in range(1, len(words)):
        end = _ERROR_END.fullmatch(" from ".join(words[place:]))
        if end is not None:
            found.append((" from ".join(words[:place]), end))
    return found


def _imitated(said: str) -> bool:
    """Do the headers or the user hold what the line is made of?"""
    return "(X-" in said and said.count(" from ") > 1


def _peer(event: Event, user: str, peer: str, said: str) -> Outcome:
    match = _PEER.fullmatch(peer)
    if match is None or _imitated(said):
        return event
    event.client_ip = real_address(match["ip"], match["real"] or "", match["forwarded"] or "")
    event.account = account_name(user)
    return event


def _sent(event: Event, text: str) -> Outcome:
    who, found, message = text.removeprefix("User ").partition("]; Message ")
    user, _, address = who.rpartition(" [")
    message_id, _, rest = (" " + message).partition(" for ")  # some write no message id
    to, _, response = rest.rpartition("; ")
    if not (user and found and to):
        return Unreadable(_NAME, "a message sent without its fields")
    queued = _QUEUED.search(response)
    event.account, event.client_ip = account_name(user), CANONICAL_IP[address]
    event.kind, event.nrcpt, event.message_id = "submission", to.count(", ") + 1, message_id.strip() or None
    event.queue_id = queued["id"] if queued else None
    return event


FORMAT = Format(
    _NAME,
    Role.WEBMAIL,
    dict.fromkeys(("roundcube", "userlogins", "errors", "sendmail"), read),
    writes=("roundcube",),
    session=Session.TWICE,
    bare=(("[", read_line),),
    clients=(
        ClientText("user", r"(?:F\w+ login|Login failed) for (\S+) (?:against|from)"),
        ClientText("server that the form chose", r"against (\S+) from", Escape.WORD),
        ClientText("header of a proxy", r"X-Forwarded-For: ([^(),]*),"),
        ClientText("user, echoed by the server", r"failed for (\S+) (?:against|from).*(?:PLAIN|LOGIN): (.*?) in /usr"),
        ClientText("server's answer", r"(?:PLAIN|LOGIN): (.*?) in /usr"),
    ),
)
