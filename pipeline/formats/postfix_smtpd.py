"""Postfix smtpd(8): who connects, who may send, who is refused, whose password is wrong.

Left of ``client=host[address]`` and of ``warning: host[address]: SASL`` Postfix writes no client's text: the host
name was checked to be one (``valid_hostname``). HELO, senders, recipients, user names and SASL mechanisms are the
client's; they stand to the right, and a line in which they imitate Postfix gives no account.
"""

import re
from datetime import datetime

from pipeline.formats.fields import MAX_REASON, Format, Outcome, Unreadable, account_name, canonical_ip
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "postfix-smtpd"
_PEER = r"[^\s\[\]]*\[(?P<ip>[^\s\[\]]*)\](?::[0-9]+)?"
_CLIENT = re.compile(
    rf"client={_PEER}"
    r"(?:, sasl_method=(?P<method>[^\s,]+), sasl_username=(?P<user>.*?))?"
    r"(?:, sasl_sender=.*?)?(?:, orig_queue_id=.*?)?(?:, orig_client=.*?)?",
    re.DOTALL,
)
_SASL = re.compile(rf"{_PEER}: SASL (?P<rest>.*)", re.DOTALL)
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


def read(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """One line of smtpd."""
    if text.startswith(("connect from ", "disconnect from ")):
        start = text.rfind("[")
        written = text[start + 1 : text.find("]", start)]
        client_ip = canonical_ip(written)
        if client_ip is None and written != "unknown":
            return Unreadable(_NAME, "no client address")
        return Event("connect", time, host, program, service, None, client_ip)
    queue_id, _, rest = text.partition(": ")
    if rest.startswith("client="):
        return _client(time, host, program, service, queue_id, rest)
    if queue_id == "warning":
        return _warning(time, host, program, service, rest)
    if text.startswith(("lost connection ", "timeout ", "too many errors ")):
        match = re.search(rf" from {_PEER}\Z", text)
        client_ip = canonical_ip(match["ip"]) if match else None
        return Event("connect", time, host, program, service, None, client_ip)
    if ": " in rest and queue_id.isalnum():
        return _verdict(time, host, program, service, None if queue_id == "NOQUEUE" else queue_id, rest)
    return Event("other", time, host, program, service)


def _client(time: datetime, host: str, program: str, service: str | None, queue_id: str, rest: str) -> Outcome:
    end = rest.find("]")
    client_ip = canonical_ip(rest[rest.find("[") + 1 : end])
    tail = rest[end + 1 :]
    if client_ip is not None:
        if not tail:
            return Event("connect", time, host, program, service, None, client_ip, queue_id)
        if tail.startswith(", sasl_method="):
            method, found, user = tail[14:].partition(_USER)
            if found and "," not in user and "," not in method:
                return Event(
                    "connect", time, host, program, service, account_name(user), client_ip, queue_id,
                    None, None, None, None, None, method,
                )  # fmt: skip
    match = _CLIENT.fullmatch(rest)
    if match is None:
        return Unreadable(_NAME, "client= is not followed by a client")
    client_ip = canonical_ip(match["ip"])
    if client_ip is None and match["ip"] != "unknown":
        return Unreadable(_NAME, "no client address")
    account = account_name(match["user"] or "")
    return Event(
        "connect", time, host, program, service, account, client_ip, queue_id, method=match["method"]
    )  # fmt: skip


def _warning(time: datetime, host: str, program: str, service: str | None, rest: str) -> Outcome:
    match = _SASL.fullmatch(rest)
    if match is None:
        return Event("other", time, host, program, service)
    client_ip = canonical_ip(match["ip"])
    said = match["rest"]
    if said.endswith(" authentication aborted"):
        return Event("auth_failure", time, host, program, service, None, client_ip, reason="aborted")
    if _FAILED not in said:
        return Event("other", time, host, program, service, None, client_ip)
    if client_ip is None and match["ip"] != "unknown":
        return Unreadable(_NAME, "SASL failure without a client address")
    method, _, outcome = said.partition(_FAILED)
    why, _, user = outcome.partition(_USER)
    account = None if user == "(unavailable)" or len(user) >= _LOGGED_USER else account_name(user)
    reason = _sasl_reason(why)
    if _FAILED in outcome or not _MECHANISM.fullmatch(method):
        return Event("auth_failure", time, host, program, service, None, client_ip, reason="mechanism")
    return Event(
        "auth_failure", time, host, program, service, account, client_ip, None,
        None, None, None, None, None, method, reason,
    )  # fmt: skip


def _sasl_reason(why: str) -> AuthReason:
    """The SASL server's text (xsasl_dovecot_server.c, xsasl_cyrus_server.c) as one of our reasons.

    Dovecot gives no text for a wrong password; a text of its own is that of a policy server or a passdb that
    refuses the account or address whatever the password.
    """
    low = why.lower()
    if low.startswith("connection lost") or "temporar" in low or low.startswith(("generic failure", "internal")):
        return "temporary"
    if "mechanism" in low or low.startswith("no mechanism"):
        return "mechanism"
    if "base64" in low or "aborted" in low or low.startswith("bad protocol"):
        return "aborted"
    if why in ("", "(reason unavailable)") or low.startswith(_CYRUS) or _PROMPT.fullmatch(why):
        return "password"
    return "policy"


_CYRUS = (
    "authentication fail",
    "user not found",
    "no secret in database",
    "bad password",
    "invalid ",
    "client response",
)
_PROMPT = re.compile(r"[A-Za-z0-9+/]+=*")  # Postfix 2.x logs the last challenge, such as UGFzc3dvcmQ6


def _verdict(time: datetime, host: str, program: str, service: str | None, queue_id: str | None, rest: str) -> Outcome:
    match = _VERDICT.fullmatch(rest)
    if match is None:
        return Event("other", time, host, program, service, None, None, queue_id)
    client_ip = canonical_ip(match["ip"])
    if client_ip is None and match["ip"] != "unknown":
        return Unreadable(_NAME, f"{match['verb']} without a client address")
    rejected = match["verb"] in ("reject", "milter-reject")
    text, account = match["text"], None
    cut = text.find("; from=<")
    sender, recipient = _envelope(text, cut)
    owned = _NOT_OWNED.fullmatch(text, 0, cut) if sender else None
    if owned is not None and owned["address"] == sender:
        account = account_name(owned["user"])
    reason = text[:cut] if cut >= 0 else text
    return Event(
        "reject" if rejected else "other", time, host, program, service, account, client_ip, queue_id,
        sender, recipient, None, None, match["code"] if rejected else None, None, reason[:MAX_REASON], match["dsn"],
    )  # fmt: skip


def _envelope(text: str, start: int) -> tuple[str | None, str | None]:
    """Sender and recipient of ``; from=<…> to=<…> proto=…``; nothing where a client's text holds the same words."""
    if any(text.count(words) != 1 for words in ("; from=<", "> to=<", "> proto=")):
        return None, None
    middle, end = text.find("> to=<", start), text.find("> proto=", start)
    if not start < middle < end:
        return None, None
    return text[start + 8 : middle], text[middle + 6 : end]


FORMAT = Format(_NAME, {"smtpd": read})
