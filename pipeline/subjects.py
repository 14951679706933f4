"""Events -> tallies: who did what, combined per subject, peer and second within one frame.

The only place where subjects are made. One event counts for its account, its network, its country and the whole
system. Countries and the system are busy: they are combined over all accounts before they leave the frame.
"""

from collections.abc import Callable, Iterable
from zlib import crc32

from schemas.event import Event
from schemas.kinds import PASSWORD_ERRORS
from schemas.tally import CountedKind, Tally

SYSTEM = "*"
MAX_SAMPLES = 3
MAX_LINE = 400  # characters of a line kept as evidence
MAX_ORIGINS = 200_000  # addresses remembered as trusted or not
MAX_NAME = 254  # characters of an account (RFC 5321 allows 64 + 1 + 255); longer ones are only counted by network

Trusted = Callable[[str], bool]
"""Canonical address -> is it one of our own hosts, which is nobody's origin?"""

_Key = tuple[CountedKind, str, str, int]


def is_foreign_sender(sender: str | None, account: str) -> bool:
    """Is the envelope sender not the account's own? ``user+tag@domain`` is; the null sender is nobody's."""
    if not sender or "@" not in account:
        return False
    sender = sender.lower()
    if sender == account:
        return False
    local, _, domain = sender.partition("@")
    return f"{local.partition('+')[0]}@{domain}" != account


class Tallier:
    """Combines the events of one frame."""

    def __init__(self, trusted: Trusted) -> None:
        self._trusted = trusted
        self._tallies: dict[_Key, Tally] = {}
        self._origins: dict[str, str] = {}

    def tally(self, events: Iterable[tuple[Event, str]]) -> list[Tally]:
        """(event, raw line) of one frame, in order -> tallies, in order of first appearance."""
        self._tallies = {}
        for event, line in events:
            kind = event.kind
            if kind == "submission":
                self._submission(event, line)
            elif kind == "auth_failure":
                self._failure(event, line)
            elif kind == "auth_success":
                for tally in self._of(event, line):
                    tally.successes += event.count
            elif kind == "delivery":
                self._delivery(event, line)
            elif kind == "reject" and event.account and event.network:
                for tally in self._of(event, line):  # the account is named, so it had authenticated
                    tally.successes += 1
                self._foreign_sender(event, event.account, line)
        return list(self._tallies.values())

    def _submission(self, event: Event, line: str) -> None:
        recipients = event.nrcpt or 1
        webmail = 1 if event.channel == "webmail" else 0
        for tally in self._of(event, line):
            tally.messages += 1
            tally.recipients += recipients
            tally.webmail += webmail
            tally.successes += 1
        if event.sender != event.account and event.account and event.network:
            self._foreign_sender(event, event.account, line)

    def _failure(self, event: Event, line: str) -> None:
        if event.reason not in PASSWORD_ERRORS or event.count <= 0:
            return
        for tally in self._of(event, line):
            if event.program == "smtpd":
                tally.errors_mta += event.count
            elif event.service == "smtp":
                tally.errors_sasl += event.count
            else:
                tally.errors += event.count

    def _delivery(self, event: Event, line: str) -> None:
        if event.account and event.status == "bounced" and event.dsn and event.dsn.startswith("5.1."):
            for tally in self._of(event, line):
                tally.failed += 1

    def _foreign_sender(self, event: Event, account: str, line: str) -> None:
        sender = event.sender
        if sender and len(account) <= MAX_NAME and is_foreign_sender(sender, account):
            at = event.time.timestamp()
            senders = self._get("account", account, self._origin(event), event, at, line).senders
            if sender not in senders:
                senders.append(sender)

    def _origin(self, event: Event) -> str:
        """The network that an event comes from, "" if it is one of our own hosts."""
        address = event.client_ip
        if address is None:
            return ""
        origin = self._origins.get(address)
        if origin is None:
            if len(self._origins) >= MAX_ORIGINS:
                self._origins.clear()
            origin = self._origins[address] = "" if self._trusted(address) else event.network or ""
        return origin

    def _of(self, event: Event, line: str) -> list[Tally]:
        """The tallies of everybody whom an event counts for."""
        account = event.account if event.account and len(event.account) <= MAX_NAME else ""
        origin, at = self._origin(event), event.time.timestamp()
        found = [self._get("system", SYSTEM, "", event, at, "")]
        if account:
            found.append(self._get("account", account, origin, event, at, line))
        if origin:
            found.append(self._get("ip", origin, account, event, at, line))
            if event.country:
                found.append(self._get("country", event.country, "", event, at, ""))
        return found

    def _get(self, kind: CountedKind, subject: str, peer: str, event: Event, at: float, line: str) -> Tally:
        key = (kind, subject, peer, int(at))
        tally = self._tallies.get(key)
        if tally is None:
            country = "" if kind == "system" else event.country or ""
            tally = Tally(kind, subject, peer, country, at, senders=[], samples=[], queue_ids=[])
            self._tallies[key] = tally
        elif at > tally.at:
            tally.at = at
        if line and len(tally.samples) < MAX_SAMPLES:
            tally.samples.append(line[:MAX_LINE])
            if event.queue_id:
                tally.queue_ids.append(event.queue_id)
        return tally


def partition_of(tally: Tally, partitions: int) -> int:
    """The partition of ``tallies`` that a subject belongs to."""
    return crc32(tally.subject.encode()) % partitions
