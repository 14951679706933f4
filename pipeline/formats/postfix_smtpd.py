"""Postfix smtpd(8): who connects, who may send, who is refused, whose password is wrong.

Left of ``client=host[address]`` and of ``warning: host[address]: SASL`` Postfix writes no client's text: the host
name was checked to be one (``valid_hostname``). HELO, senders, recipients, user names and SASL mechanisms are the
client's; they stand to the right, and a line in which they imitate Postfix gives no account.

Where a filter stands before the queue (``smtpd_proxy_filter``), smtpd has no queue id: the process tells that
``NOQUEUE: client=`` and ``proxy-accept: ... queued as ID`` speak of the same message, which is ``ID`` from then on.
"""

import re
from datetime import datetime

from pipeline.formats.postfix_delivery import queued_as
from pipeline.formats.postfix_peers import peer_of_smtpd
from pipeline.formats.reading.fields import CANONICAL_IP, MAX_REASON
from pipeline.formats.reading.format import OF_PROCESS, ClientText, Escape, Format, Outcome, Role, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "postfix-smtpd"
_NAME_AT = len("client=")
_PEER = r"[^\s\[\]]*\[(?P<ip>[^\s\[\]]*)\](?::[0-9]+)?"
_CLIENT = re.compile(
    rf"client={_PEER}"
    r"(?:, sasl_method=(?P<method>[^\s,]+), sasl_username=(?P<user>.*?))?"
    r"(?:, sasl_sender=.*?)?(?:, orig_queue_id=(?P<before>.*?))?(?:, orig_client=.*?)?",
    re.DOTALL,
)
_ANSWER = re.compile(
    r"(?:END-OF-MESSAGE|DATA|RCPT|MAIL|BDAT): (?:(?P<code>[245][0-9]{2})[ -])?"
    r"(?:(?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3}) )?(?P<text>.*)",
    re.DOTALL,
)
_LOGGED_IN = re.compile(r" helo=<[^<>]*> sasl_username=<([^<>]*)>\Z")
_ID = re.compile(r"[0-9A-Za-z]{6,40}")
_SASL = re.compile(rf"{_PEER}: SASL (?P<rest>.*)", re.DOTALL)
_AT_END = re.compile(rf" from {_PEER}\Z")
_FAILED = " authentication failed: "
_USER = ", sasl_username="
_MECHANISM = re.compile(r"[A-Za-z0-9_-]{1,20}")  # RFC 4422, section 3.1; Postfix logs what the client asked for
_VERDICT = re.compile(
    rf"(?P<verb>[a-z_-]+): (?P<stage>[^\s:]+) from {_PEER}: (?:(?P<code>[245][0-9]{{2}}) )?"
    r"(?:(?P<dsn>[245]\.[0-9]{1,3}\.[0-9]{1,3}) )?(?P<text>.*)",
    re.DOTALL,
)
_NOT_OWNED = re.compile(r"<(?P<address>[^<>\"\s;]*)>: Sender address rejected: not owned by user (?P<user>\S+)")
_LOGGED_USER = 100  # smtpd cuts the user name of a failed login here


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of smtpd."""
    if not rest and first.startswith(("connect from ", "disconnect from ")):
        written = first.rpartition("[")[2].partition("]")[0]
        client_ip = CANONICAL_IP[written]
        if client_ip is None and written != "unknown":
            return Unreadable(_NAME, "no client address")
        return Event("connect", time, host, program, service, None, client_ip)
    if rest.startswith("client=") and first != "NOQUEUE":
        peer, sasl, login = rest.partition("], sasl_method=")
        if sasl:
            client_ip = CANONICAL_IP[peer.rpartition("[")[2]]
            method, found, user = login.partition(", sasl_username=")
            if client_ip is not None and found and "," not in user:
                if peer[_NAME_AT] == host[:1] and peer.startswith(f"{host}[", _NAME_AT):
                    service = "webmail"  # the host itself, by the name that its address has
                return Event(
                    "connect", time, host, program, service, user.lower() or None, client_ip, first,
                    None, None, None, None, None, method,
                )  # fmt: skip
        else:
            client_ip = CANONICAL_IP[rest.partition("[")[2][:-1]]
            if client_ip is not None:
                return Event("connect", time, host, program, service, None, client_ip, first)
        return _client(Event("connect", time, host, program, service, queue_id=first), rest)
    if first in OF_PROCESS:
        return _of_process(time, host, program, service, first, rest)
    event = Event("other", time, host, program, service)
    if first == "warning":
        return _warning(event, rest)
    if first.startswith(("lost connection ", "timeout ", "too many errors ")):
        match = _AT_END.search(first)
        event.kind, event.client_ip = "connect", CANONICAL_IP[match["ip"]] if match else None
        return event
    if ": " in rest and first.isalnum():
        event.queue_id = first
        return _verdict(event, rest)
    event.client_ip = peer_of_smtpd(first)
    return event


def _of_process(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """A line that names no message."""
    entrance, _, process = (service or "").partition("[")
    event = Event("other", time, host, program, entrance or None)
    verb, _, said = rest.partition(": ") if rest.startswith("proxy-") else (first, "", rest)
    if verb != "NOQUEUE":
        event.session = process.removesuffix("]") or None
        return _filtered(event, verb, said)
    if rest.startswith("client="):
        event.kind, event.session = "connect", process.removesuffix("]") or None
        return _client(event, rest)
    return _verdict(event, rest) if ": " in rest else event


def _filtered(event: Event, verb: str, said: str) -> Event | Unreadable:
    """What the filter before the queue answered. Left of the sender all of it is the filter's, or the next smtpd's."""
    match = _ANSWER.fullmatch(said)
    if match is None:
        return Unreadable(_NAME, f"{verb} without a stage and an answer")
    text = match["text"]
    cut = text.find("; from=<")
    answer = text if cut < 0 else text[:cut]
    event.sender, event.recipient = _envelope(text, cut)
    login = _LOGGED_IN.search(text)
    event.account = login[1].lower() or None if login else None
    event.dsn, event.reason = match["dsn"], answer[:MAX_REASON]
    if verb == "proxy-accept":
        event.kind, event.status, event.queue_id = "connect", "queued", queued_as(answer)
    else:
        event.kind, event.status = "reject", match["code"]
    return event


def _client(event: Event, rest: str) -> Event | Unreadable:
    match = _CLIENT.fullmatch(rest)
    if match is None:
        return Unreadable(_NAME, "client= is not followed by a client")
    event.client_ip = CANONICAL_IP[match["ip"]]
    if event.client_ip is None and match["ip"] != "unknown":
        return Unreadable(_NAME, "no client address")
    event.account, event.method = (match["user"] or "").lower() or None, match["method"]
    if match["before"] is not None:
        event.session = match["before"] if _ID.fullmatch(match["before"]) else None
    return event


def _warning(event: Event, rest: str) -> Event | Unreadable:
    match = _SASL.fullmatch(rest)
    if match is None:
        event.client_ip = None if ": SASL " in rest else peer_of_smtpd(rest)  # nobody who imitates a failure
        return event
    event.client_ip = CANONICAL_IP[match["ip"]]
    said = match["rest"]
    if said.endswith(" authentication aborted") and _FAILED not in said:
        event.kind, event.reason = "auth_failure", "aborted"
        return event
    method, found, outcome = said.partition(_FAILED)
    if not found and said.endswith(_FAILED.rstrip()):  # without a reason, and the blank was trimmed on the way
        method, found = said.removesuffix(_FAILED.rstrip()), _FAILED
    if not found:
        return event
    if event.client_ip is None and match["ip"] != "unknown":
        return Unreadable(_NAME, "SASL failure without a client address")
    event.kind = "auth_failure"
    why, _, user = outcome.partition(_USER)
    if _FAILED in why or not _MECHANISM.fullmatch(method):
        event.reason = "mechanism"
        return event
    event.method, event.reason = method, _sasl_reason(why)
    if user != "(unavailable)" and len(user) < _LOGGED_USER:
        event.account = user.lower() or None
    return event


def _sasl_reason(why: str) -> AuthReason:
    """The SASL server's text (xsasl_dovecot_server.c, sasl_errstring() of Cyrus) as one of our reasons.

    Dovecot gives no text for a wrong password; a text of its own is that of a policy server or a passdb that
    refuses the account or address whatever the password.
    """
    low = why.lower()
    for words, reason in _SASL_TEXTS:
        if words in low:
            return reason
    return "password" if why in ("", "(reason unavailable)") or _PROMPT.fullmatch(why) else "policy"


_SASL_TEXTS: tuple[tuple[str, AuthReason], ...] = (
    ("connection lost", "temporary"),
    ("temporar", "temporary"),
    ("generic failure", "temporary"),
    ("transient failure", "temporary"),
    ("internal error", "temporary"),
    ("mechanism", "mechanism"),
    ("base64", "aborted"),
    ("aborted", "aborted"),
    ("bad protocol", "aborted"),
    ("authentication fail", "password"),
    ("user not found", "unknown_user"),
    ("no secret in database", "unknown_user"),
    ("account disabled", "disabled"),
    ("password expired", "disabled"),
)
_PROMPT = re.compile(r"[A-Za-z0-9+/]+=*")  # Postfix 2.x logs the last challenge, such as UGFzc3dvcmQ6


def _verdict(event: Event, rest: str) -> Event | Unreadable:
    match = _VERDICT.fullmatch(rest)
    if match is None:
        return event
    event.client_ip = CANONICAL_IP[match["ip"]]
    if event.client_ip is None and match["ip"] != "unknown":
        return Unreadable(_NAME, f"{match['verb']} without a client address")
    text = match["text"]
    cut = text.find("; from=<")
    event.sender, event.recipient = _envelope(text, cut)
    owned = _NOT_OWNED.fullmatch(text, 0, cut) if event.sender else None
    if owned is not None and owned["address"] == event.sender:
        event.account = owned["user"].lower()
    if match["verb"] in ("reject", "milter-reject"):
        event.kind, event.status = "reject", match["code"]
    event.dsn = match["dsn"]
    event.reason = (text[:cut] if cut >= 0 else text)[:MAX_REASON]
    return event


def _envelope(text: str, start: int) -> tuple[str | None, str | None]:
    """Sender and recipient of ``; from=<…> to=<…> proto=…``; nothing where a client's text holds the same words."""
    if any(text.count(words) != 1 for words in ("; from=<", "> to=<", "> proto=")):
        return None, None
    middle, end = text.find("> to=<", start), text.find("> proto=", start)
    if not start < middle < end:
        return None, None
    return text[start + 8 : middle], text[middle + 6 : end]


FORMAT = Format(
    _NAME,
    Role.MTA,
    {"smtpd": read},
    within="postfix",
    clients=(
        ClientText("user", r"failed: .*sasl_username=([^,()]+)"),
        ClientText("sender of a message", r"sasl_sender=([^,]*)"),
        ClientText("mechanism", r"SASL (\S+) auth", Escape.WORD),
        ClientText("sender", r"from=<([^<>]*)>", Escape.QUOTED),
        ClientText("recipient", r"to=<([^<>]*)>", Escape.QUOTED),
        ClientText("HELO", r"helo=<([^<>]*)>", Escape.NEUTERED),
        ClientText("address refused", r"\d\.\d\.\d <([^<>]*@[^<>]*)>: (?:Sender|Recipient)"),
        ClientText("host by DNS", r"(?:from|client=) ?([a-z][\w.-]*)\[", Escape.HOST),
    ),
)
