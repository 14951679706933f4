"""Dovecot's auth process and its workers: one line for each refusal by a password database, the policy or a mechanism.

``database(user,address,<session>): what``: the user is the client's text, cut at 64 characters, with control
characters replaced. A line that could be read in two ways is not read. Lines without a session come from the SASL
of an MTA; with one, the login process says which protocol it was.
"""

import re
from datetime import datetime

from pipeline.formats.fields import Format, Outcome, Unreadable, account_name, canonical_ip
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "dovecot-auth"
_WORKER = re.compile(r"conn unix:\S+ \(pid=[0-9]+,uid=[0-9]+\): auth-worker<[0-9]+>: ")
_NOBODY = re.compile(r"[\w-]+\(\?,(?P<ip>[^,()<>\s]+)(?:,<(?P<session>[^<>\s]*)>)?\): (?P<what>.*)", re.DOTALL)
_REFUSED = "Authentication failure due to policy server refusal"
_REASONS: tuple[tuple[str, AuthReason], ...] = (
    ("Password mismatch", "password"),
    ("password mismatch", "password"),
    ("invalid credentials", "password"),
    ("Invalid credentials", "password"),
    ("pam_authenticate() failed: User not known", "unknown_user"),
    ("pam_authenticate() failed: Authentication failure", "password"),
    ("pam_authenticate() failed: Permission denied", "disabled"),
    ("pam_acct_mgmt() failed", "disabled"),
    ("pam_authenticate() failed", "temporary"),
    ("unknown user", "unknown_user"),
    ("Unknown user", "unknown_user"),
    (_REFUSED, "policy"),
    ("allow_nets check failed", "policy"),
    ("allow_real_nets check failed", "policy"),
    ("Username character disallowed", "unknown_user"),
    ("Username contains disallowed", "unknown_user"),
    ("Password expired", "disabled"),
    ("User is disabled", "disabled"),
    ("User is inactive", "disabled"),
    ("Login disabled", "disabled"),
    ("Attempted login with password having illegal chars", "password"),
    ("nopassword set but password is non-empty", "password"),
    ("CRYPT-MD5 mismatch", "password"),
    ("invalid input", "aborted"),
    ("Requested ", "mechanism"),
)


def read(time: datetime, host: str, program: str, service: str | None, text: str) -> Outcome:
    """One line of auth or auth-worker."""
    if text.startswith("conn unix:"):
        text = _WORKER.sub("", text, count=1)
    who, found, what = text.partition("): ")
    if not found or "(" not in who:
        return Event("other", time, host, program)
    nobody = _NOBODY.fullmatch(text)
    if nobody is not None:
        reason = _reason(nobody["what"])
        if reason is None:
            return Event("other", time, host, program)
        ip, session = canonical_ip(nobody["ip"]), nobody["session"]
        return _failure(time, host, program, None, ip, session, reason)
    if "): " in what:
        return _unusual(time, host, program, text)
    return _refusal(time, host, program, who, what)


def _refusal(time: datetime, host: str, program: str, who: str, what: str) -> Outcome:
    reason = _reason(what)
    if reason is None:
        return Event("other", time, host, program)
    base, _, inner = who.partition("(")
    session = None
    if inner.endswith(">"):
        inner, _, session = inner[:-1].rpartition(",<")
    user, _, address = inner.rpartition(",")
    while user and (address == "master" or address.startswith("sasl:")):
        user, _, address = user.rpartition(",")
    client_ip = canonical_ip(address)
    if client_ip is None:
        user = inner if "," not in inner else user if not address else ""
        if not user:
            return Unreadable(_NAME, f"{base}(…): no user and address")
    return _failure(time, host, program, account_name(user), client_ip, session, reason)


def _failure(
    time: datetime, host: str, program: str, account: str | None, client_ip: str | None, session: str | None,
    reason: AuthReason,
) -> Event:  # fmt: skip
    service = "smtp" if session is None else None
    return Event(
        "auth_failure", time, host, program, service, account, client_ip, None,
        None, None, None, None, None, None, reason, None, session,
    )  # fmt: skip


def _unusual(time: datetime, host: str, program: str, text: str) -> Outcome:
    """``): `` stands in it more than once: in the user's name, or in text that the server was told to add."""
    who, _, what = text.rpartition("): ")
    first, _, said = text.partition("): ")
    reason = _reason(said)
    if reason == "policy" and said.count(_REFUSED) == 1 and not _looks_like_end(who[len(first) :]):
        return _refusal(time, host, program, first, said)
    if _reason(what) is None and reason is None:
        return Event("other", time, host, program)
    return Unreadable(_NAME, "a user name that imitates the server's text")


def _looks_like_end(text: str) -> bool:
    return re.search(r",[0-9A-Fa-f:.]+(?:,<[^<>\s]*>)?\Z", text) is not None


def _reason(what: str) -> AuthReason | None:
    for words, reason in _REASONS:
        if what.startswith(words):
            return reason
    return None


FORMAT = Format(_NAME, {"auth": read, "auth-worker": read})
