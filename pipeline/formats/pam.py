"""PAM modules of mail services: pam_unix, pam_sss and others that write pam_unix's line (pam_unix(8), pam_sss(8)).

The service in parentheses decides; ``sshd`` and all that are not known to be mail are ignored. ``ruser`` and ``user``
are the client's text: a line that names ``rhost`` twice gives neither account nor address.
"""

import re
from datetime import datetime

from pipeline.formats.reading.fields import CANONICAL_IP, account_name
from pipeline.formats.reading.format import ClientText, Format, Outcome, Role
from schemas.event import Event

SERVICES: dict[str, str | None] = {
    "dovecot": None, "imap": "imap", "imaps": "imap", "imapd": "imap", "pop": "pop3", "pop3": "pop3", "pop3s": "pop3",
    "pop3d": "pop3", "ipop3d": "pop3", "popa3d": "pop3", "solid-pop3d": "pop3", "qpopper": "pop3", "perdition": None,
    "smtp": "smtp", "smtpd": "smtp", "smtp.postfix": "smtp", "smtp.sendmail": "smtp", "submission": "smtp",
    "postfix": "smtp", "sendmail": "smtp", "exim": "smtp", "exim4": "smtp", "esmtp": "smtp", "sieve": "managesieve",
    "managesieve": "managesieve", "cyrus": None, "courier": None, "authdaemon": None, "saslauthd": None, "mail": None,
    "webmail": "webmail", "roundcube": "webmail", "squirrelmail": "webmail", "horde": "webmail", "sogo": "webmail",
}  # fmt: skip
"""Names under which mail programs ask PAM -> the service of their events."""

_MODULE = re.compile(r"pam_\w+\((?P<service>[^\s:()]+):(?P<phase>\w+)\)")
_OLD = re.compile(r"\(pam_\w+\) |PAM_\w+: ")
_FAILED = re.compile(r"(?:(?P<more>[0-9]{1,6}) more )?authentication failures?; ")
_EXPIRED = re.compile(r"account (?P<user>.*) has expired \([^()]*\)")
_WHO = re.compile(
    r"logname=\S* uid=[0-9]* euid=[0-9]* tty=\S* ruser=(?P<ruser>.*) rhost=(?P<rhost>\S*)(?P<user>.*)", re.DOTALL
)
_TAGS = (
    "auth", "dovecot-auth", "authdaemond", "saslauthd", "imapd", "pop3d", "ipop3d", "popa3d", "solid-pop3d", "exim",
    "exim4", "sendmail", "sm-mta", "perdition", "imap", "imaps", "pop3", "pop3s",
)  # fmt: skip
_OLD_TAGS = ("dovecot", "dovecot-auth", "imap", "imapd", "pop", "pop3", "pop3d", "ipop3d", "smtp", "smtpd", "saslauthd")
_SUFFIX = "(pam_unix)"
_ROLES = {
    "auth": Role.SASL, "dovecot-auth": Role.ASKED, "authdaemond": Role.ASKED, "saslauthd": Role.ASKED, "exim": Role.MTA,
    "exim4": Role.MTA, "sendmail": Role.MTA, "sm-mta": Role.MTA, "smtp": Role.MTA, "smtpd": Role.MTA,
}  # fmt: skip


def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """``pam_unix(imap:auth): authentication failure; …`` under the tag of any mail program."""
    module = _MODULE.fullmatch(first)
    if module is not None:
        name = module["service"]
        if name not in SERVICES:
            return None
        return _read(Event("other", time, host, program, SERVICES[name]), rest)
    text = f"{first}: {rest}" if rest else first
    old = _OLD.match(text)
    if old is None:
        return None
    return _read(Event("other", time, host, program, SERVICES.get(program)), text[old.end() :])


def read_old(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
    """``pop(pam_unix)[12]: authentication failure; …`` of old systems: the service is in the tag."""
    name = program.removesuffix(_SUFFIX)
    return _read(Event("other", time, host, name, SERVICES.get(name)), f"{first}: {rest}" if rest else first)


def _read(event: Event, text: str) -> Event:
    failed = _FAILED.match(text)
    if failed is None:
        expired = _EXPIRED.fullmatch(text)
        if expired is not None:
            event.kind, event.account, event.reason = "auth_failure", account_name(expired["user"]), "disabled"
        elif text.startswith("authentication success; "):
            event.kind = "auth_success"
            _who(event, text.partition("; ")[2])
        return event
    event.kind, event.reason, event.count = "auth_failure", "password", int(failed["more"] or 1)
    _who(event, text[failed.end() :])
    return event


def _who(event: Event, text: str) -> None:
    who = _WHO.fullmatch(text)
    if who is None or text.count(" rhost=") != 1:
        return
    event.client_ip = CANONICAL_IP[who["rhost"]]
    event.account = account_name(who["user"].partition("user=")[2] or who["ruser"])


FORMAT = Format(
    "pam",
    Role.ACCESS,
    dict.fromkeys(_TAGS, read) | {f"{tag}{_SUFFIX}": read_old for tag in _OLD_TAGS},
    roles=_ROLES | {f"{tag}{_SUFFIX}": role for tag, role in _ROLES.items() if tag in _OLD_TAGS},
    writes=(*_TAGS, *_OLD_TAGS),
    clients=(ClientText("user", r"ruser=(\S+@?\S*) rhost|  ?user=(\S+)|account (\S+) has expired|for user (\S+):"),),
)
