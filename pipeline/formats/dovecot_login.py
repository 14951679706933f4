"""Dovecot's login processes, 2.2 to 2.4: ``imap-login``, ``pop3-login``, ``managesieve-login``, ``submission-login``.

``user=<…>`` is the client's text: Dovecot replaces control characters, cuts it at 80 characters and escapes nothing.
Address and session follow it, so they are found from the right; only a trusted proxy or webmail can set them.
"""

import re
from datetime import datetime

from pipeline.formats.fields import Format, Outcome, Unreadable, account_name, canonical_ip, number
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "dovecot-login"
_IP = r"[0-9A-Fa-f:.]+(?:%\w+)?"
_USER_FIRST = re.compile(
    rf"user=<(?P<user>.*)>(?:, method=(?P<method>[^\s<>]*))?, rip=(?P<rip>{_IP})(?:, method=(?P<late>[^\s,<>]*))?"
    rf"(?P<rest>(?:, (?!rip=|user=)[^<>,]+(?:<[^\s<>]*>)?)*)",
    re.DOTALL,
)
_RIP_FIRST = re.compile(
    rf"(?:(?:(?!user=|rip=)[^<>,]+(?:<[^\s<>]*>)?), )*rip=(?P<rip>{_IP})(?P<rest>(?:, .*)?)", re.DOTALL
)
_LAST_USER = re.compile(r"(?:, (?!user=)[^<>,]+(?:<[^\s<>]*>)?)*, user=<(?P<user>[^<>]*)>", re.DOTALL)
_SESSION = re.compile(r", session=<([^\s<>]*)>")
_ATTEMPTS = re.compile(r"\((?:auth failed|authorization failed), ([0-9]+) attempts?")
_WHY: tuple[tuple[str, AuthReason], ...] = (
    ("(auth failed", "password"),
    ("(authorization failed", "disabled"),
    ("(user disabled", "disabled"),
    ("(password expired", "disabled"),
    ("(user is denied", "disabled"),
    ("(auth service reported temporary failure", "temporary"),
    ("(auth process communication failure", "temporary"),
    ("(internal failure", "temporary"),
    ("(tried to use unsupported auth mechanism", "mechanism"),
)


def read(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """One line of a login process: a login, a failure, or a connection that ended without either."""
    if text.startswith("Login: user=<"):
        said, fields, kept = "Login", text, 7
    else:
        said, found, fields = text.partition(": user=<")
        kept = 0
        if found:
            fields = "user=<" + fields
        elif text.startswith("proxy("):
            return Event("other", time, host, program, service)
        else:
            return _other_order(time, host, program, service, text)
    end = fields.rfind(", rip=")
    user_end = fields.rfind(">, method=", kept + 6, end)
    if user_end >= 0 and fields.find(", rip=", kept, end) < 0 and fields[-1] == ">":
        method = fields[user_end + 10 : end]
        client_ip = canonical_ip(fields[end + 6 : fields.find(",", end + 6)])
        session = fields.rfind(", session=<", end)
        if client_ip is not None and session > 0 and "," not in method and "<" not in method and ">" not in method:
            return _event(
                time, host, program, service, said, fields[kept + 6 : user_end], client_ip, method,
                fields[session + 11 : -1],
            )  # fmt: skip
    match = _USER_FIRST.fullmatch(fields, kept)
    if match is None:
        return Unreadable(_NAME, "user=<> is not followed by rip=")
    client_ip = canonical_ip(match["rip"])
    if client_ip is None:
        return Unreadable(_NAME, "rip= is no address")
    session_match = _SESSION.search(match["rest"])
    method = match["method"] or match["late"] or None
    return _event(
        time, host, program, service, said, match["user"], client_ip, method, session_match and session_match[1]
    )  # fmt: skip


def _event(
    time: datetime, host: str, program: str, service: str | None, said: str,
    user: str, client_ip: str, method: str | None, session: str | None,
) -> Event:  # fmt: skip
    if said in ("Login", "Logged in"):
        return Event(
            "auth_success", time, host, program, service, account_name(user), client_ip, None,
            None, None, None, None, None, method, None, None, session,
        )  # fmt: skip
    for words, reason in _WHY:
        if words in said:
            attempts = _ATTEMPTS.search(said)
            count = number(attempts[1]) if attempts else None
            return Event(
                "auth_failure", time, host, program, service, account_name(user), client_ip,
                method=method, reason=reason, session=session, count=max(1, count or 1),
            )  # fmt: skip
    return Event("connect", time, host, program, service, None, client_ip, method=method, session=session)


def _other_order(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """Fields in an order of the operator's own (``login_log_format_elements``): the address before the user."""
    start = re.search(r": (?=(?:rip|lip|method|session|mpid)=)", text)
    if start is None:
        return Event("other", time, host, program, service)
    match = _RIP_FIRST.fullmatch(text, start.end())
    client_ip = canonical_ip(match["rip"]) if match else None
    if match is None or client_ip is None:
        return Unreadable(_NAME, "no rip= before the user")
    last = _LAST_USER.fullmatch(match["rest"])  # a user that is not last may itself hold what seems to follow it
    session = _SESSION.search(text[start.start() :].partition("user=<")[0])
    return _event(
        time, host, program, service, text[: start.start()], last["user"] if last else "", client_ip, None,
        session and session[1],
    )  # fmt: skip


SERVICES = {
    "imap-login": "imap",
    "pop3-login": "pop3",
    "managesieve-login": "managesieve",
    "submission-login": "submission",
    "imap-urlauth-login": "imap",
}
FORMAT = Format(_NAME, dict.fromkeys(SERVICES, read))
