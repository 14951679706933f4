"""Dovecot's auth process and its workers: one line for each refusal by a password database, the policy or a mechanism.

``database(user,address,<session>): what``: the user is the client's text, cut at 64 characters, with control
characters replaced. A line that could be read in two ways is not read. Lines without a session come from the SASL
of an MTA; with one, the login process says which protocol it was.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from schemas.event import Event
from schemas.kinds import AuthReason

_NAME = "dovecot-auth"
_WORKER = re.compile(r"conn unix:\S+ \(pid=[0-9]+,uid=[0-9]+\): auth-worker<[0-9]+>: ")
# The name in parentheses is the client's, in full; what stands before it is longer than a logged user name can be.
_NOBODY = re.compile(
    r"[\w-]+\(\?,(?P<ip>[^,()<>\s]+)(?:,<(?P<session>[^<>\s]*)>)?\): "
    r"Username character disallowed by auth_username_chars: 0x[0-9a-f]+ \(username: .*\)",
    re.DOTALL,
)
# Of lines that name no user, so that no client's text is in them (db-ldap.c, driver-mysql.c, driver-pgsql.c). A user
# that looks like a file's name is followed by one more end of parentheses.
_DRIVERS = frozenset(("LDAP", "ldap", "mysql", "pgsql", "sqlpool", "cassandra", "redis"))
_OUTAGE = re.compile(
    r"(?:(?:mysql|pgsql|sqlpool)(?:\([^(),]*\))?|cassandra|redis|(?:LDAP|ldap(?:\(/[^(),]*\))?)(?!.*: .*\): )): .*"
    r"(?:[Cc]an't (?:connect|contact)|[Cc]onnect(?:ion)?(?:\(\))? (?:failed|lost|refused|timed out)|[Ll]ost connection|"
    r"[Nn]ot connected|binding failed|[Tt]imed out|has gone away|[Ss]erver is (?:down|unavailable)).*",
    re.DOTALL,
)
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


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """One line of auth or auth-worker."""
    event = Event("other", time, host, program)
    text = f"{first}: {rest}"
    if first.partition("(")[0] in _DRIVERS and _OUTAGE.fullmatch(text):
        event.reason = "temporary"
        return event
    if first.startswith("conn unix:"):
        text = _WORKER.sub("", text, count=1)
    who, found, what = text.partition("): ")
    if not found or "(" not in who:
        return event
    nobody = _NOBODY.fullmatch(text)
    if nobody is not None:
        event.kind, event.reason, event.client_ip = "auth_failure", "unknown_user", CANONICAL_IP[nobody["ip"]]
        event.session, event.service = nobody["session"], None if nobody["session"] else "smtp"
        return event
    return _unusual(event, text) if "): " in what else _refusal(event, who, what)


def _refusal(event: Event, who: str, what: str) -> Event | Unreadable:
    if _reason(what) is None:
        return event
    base, _, inner = who.partition("(")
    session = None
    if inner.endswith(">") and ",<" in inner:
        if inner.count(",<") > 1:
            return Unreadable(_NAME, "two places look like the session")
        inner, _, session = inner[:-1].rpartition(",<")
    if "," not in inner:  # no address was passed; what looks like one is the name that the client gave
        return _failure(event, None if inner == "?" else account_name(inner), None, session, what)
    user, _, address = inner.removesuffix(",").rpartition(",")  # an empty session before 2.2.10
    while user and (address == "master" or address.startswith("sasl:")):
        user, _, address = user.rpartition(",")
    client_ip = CANONICAL_IP[address]
    if client_ip is None and (address or not user):
        return Unreadable(_NAME, f"{base}(…): no user and address")
    return _failure(event, None if user == "?" else account_name(user), client_ip, session, what)


def _failure(event: Event, account: str | None, client_ip: str | None, session: str | None, what: str) -> Event:
    event.reason = _reason(what)
    if event.reason is not None:
        event.kind, event.account, event.client_ip, event.session = "auth_failure", account, client_ip, session
        event.service = "smtp" if session is None else None
    return event


def _unusual(event: Event, text: str) -> Event | Unreadable:
    """``): `` stands in it more than once: in the user's name, or in text that the server was told to add."""
    who, _, what = text.rpartition("): ")
    first, _, said = text.partition("): ")
    reason = _reason(said)
    if said.startswith(_REFUSED) and said.count(_REFUSED) == 1 and not _looks_like_end(who[len(first) :]):
        return _refusal(event, first, said)
    if _reason(what) is None and reason is None:
        return event
    return Unreadable(_NAME, "a user name that imitates the server's text")


def _looks_like_end(text: str) -> bool:
    return re.search(r",[0-9A-Fa-f:.]+(?:,(?:master|sasl:\w+)?)*(?:,<[^<>\s]*>)?\Z", text) is not None


def _reason(what: str) -> AuthReason | None:
    for words, reason in _REASONS:
        if what.startswith(words):
            return reason
    return None


FORMAT = Format(
    _NAME,
    Role.SASL,
    {"auth": read, "auth-worker": read},
    within="dovecot",
    clients=(
        ClientText("user", r"(?:passwd-file|sql|ldap|pam|policy)\(([^,()]*),", longest=64),
        # No comma: a name with one and no address behind it would look like a name and an address. It gets this far
        # only if auth_username_chars is empty and the asking program passes no address.
        ClientText("user, without an address", r"(?:passwd-file|sql)\(([^,()]*)\)", Escape.GRAPHIC, longest=64),
        ClientText("password", r"given password: ([^()]*)\)"),
        ClientText("session, of a webmail that is trusted", r",<([^<>]*)>\)", Escape.WORD),
    ),
)
