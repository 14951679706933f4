"""Events -> tallies: who did what, combined per subject, peer and second within one frame.

The only place where subjects are made. One event counts for its account, its network, its country and the whole
system. Countries and the system are busy: they are combined over all accounts before they leave the frame.
"""

from collections.abc import Callable, Iterable
from datetime import datetime

from msgspec.structs import replace

from pipeline.formats.reading.programs import MTAS, SMTP_AUTH
from pipeline.normalize.dead_recipients import is_dead_recipient
from schemas.event import Event
from schemas.kinds import PASSWORD_ERRORS
from schemas.tally import CountedKind, Tally

SYSTEM = "*"
MAX_SAMPLES = 3
MAX_LINE = 400  # characters of a line kept as evidence
MAX_ORIGINS = 200_000  # addresses remembered as trusted or not
MOST_OF_ONE = 1 << 32  # counts of one line, so that a frame's sums stay numbers that tallies may hold
MAX_NAME = 254  # characters of an account (RFC 5321 allows 64 + 1 + 255); longer ones are only counted by network

_Who = tuple[str, str]  # account, address


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

    def __init__(self, is_ours: Callable[[str], bool]) -> None:
        """``is_ours``: canonical address -> is it one of our own hosts, which is nobody's origin?"""
        self._is_ours = is_ours
        self._origins: dict[str, str] = {}
        self._flows: list[Tally] = []
        self._latest: dict[_Who, Tally] = {}
        self._times: dict[datetime, float] = {}

    def tally(self, events: Iterable[tuple[Event, str]]) -> list[Tally]:
        """(event, raw line) of one frame, in order -> tallies: accounts and networks in order of their first lines,
        then countries, then the system."""
        self._flows, self._latest, self._times = [], {}, {}
        for event, line in events:
            kind = event.kind
            if kind == "delivery":
                if event.status == "bounced":
                    self._bounce(event, line)
            elif kind == "submission":
                self._submission(event, line)
            elif kind == "auth_failure":
                self._failure(event, line)
            elif kind == "auth_success":
                self._flow(event, line).successes += min(event.count, MOST_OF_ONE)
            elif kind == "reject" and event.account and event.network:
                flow = self._flow(event, line)  # the account is named, so it had authenticated
                flow.successes += 1
                _note_sender(flow, event)
        return _spread(self._flows)

    def _submission(self, event: Event, line: str) -> None:
        flow = self._flow(event, line)
        flow.successes += 1
        if event.told:  # the account counted with the MTA's line, which did not know the network
            flow = self._flow(replace(event, account=None), line)
        flow.messages += 1
        flow.recipients += min(event.nrcpt or 1, MOST_OF_ONE)
        if event.channel == "webmail":
            flow.webmail += 1
        if event.sender != event.account:
            _note_sender(flow, event)

    def _failure(self, event: Event, line: str) -> None:
        if event.reason not in PASSWORD_ERRORS or event.told:
            return
        flow = self._flow(event, line)
        if event.program in MTAS:
            flow.errors_mta += min(event.count, MOST_OF_ONE)
        elif event.service in SMTP_AUTH:
            flow.errors_sasl += min(event.count, MOST_OF_ONE)
        else:
            flow.errors += min(event.count, MOST_OF_ONE)

    def _bounce(self, event: Event, line: str) -> None:
        if event.account and is_dead_recipient(event.dsn, event.reason):
            self._flow(event, line).failed += 1

    def _flow(self, event: Event, line: str) -> Tally:
        """The account's tally that an event belongs to; its subject is "" where no account is known. What comes after
        something later begins a new one: what it is counted after must not depend on how lines fall into frames."""
        at = self._times.get(event.time)
        if at is None:
            at = self._times[event.time] = event.time.timestamp()
        account, address = event.account or "", event.client_ip or ""
        who = (account, address)
        flow = self._latest.get(who)
        if flow is None or int(flow.at) != int(at):
            origin = self._origins.get(address)
            if origin is None:
                origin = self._origin(address, event.network)
            subject = account if len(account) <= MAX_NAME else ""
            flow = self._latest[who] = Tally("account", subject, origin, event.country or "", at)
            self._flows.append(flow)
        elif at > flow.at:
            flow.at = at
        if len(flow.samples) < MAX_SAMPLES:
            flow.samples += (line[:MAX_LINE],)
            if event.queue_id:
                flow.queue_ids += (event.queue_id,)
        return flow

    def _origin(self, address: str, network: str | None) -> str:
        """The network that an address counts as, "" if it is one of our own hosts."""
        if len(self._origins) >= MAX_ORIGINS:
            self._origins.clear()
        origin = "" if not network or self._is_ours(address) else network
        self._origins[address] = origin
        return origin


def _note_sender(flow: Tally, event: Event) -> None:
    sender = event.sender
    if sender and sender not in flow.senders and is_foreign_sender(sender, flow.subject):
        flow.senders += (sender,)


def _spread(flows: Iterable[Tally]) -> list[Tally]:
    """Each account's tallies, the same for its networks, and sums for countries and the whole system."""
    tallies: list[Tally] = []
    sums: dict[tuple[CountedKind, str, int], Tally] = {}
    for flow in flows:
        if flow.subject:
            tallies.append(flow)
        if flow.peer:
            tallies.append(_of_network(flow))
            if flow.country:
                _sum(sums, "country", flow.country, flow)
        if flow.errors or flow.errors_mta or flow.errors_sasl:
            _sum(sums, "system", SYSTEM, flow)
    tallies.extend(sums.values())
    return tallies


def _of_network(flow: Tally) -> Tally:
    return Tally(
        "ip",
        flow.peer,
        flow.subject,
        flow.country,
        flow.at,
        flow.messages,
        flow.recipients,
        flow.failed,
        flow.errors,
        flow.errors_mta,
        flow.errors_sasl,
        flow.successes,
        flow.webmail,
        0,
        (),
        flow.samples,
        flow.queue_ids,
    )


def _sum(sums: dict[tuple[CountedKind, str, int], Tally], kind: CountedKind, subject: str, flow: Tally) -> None:
    key = (kind, subject, int(flow.at))
    total = sums.get(key)
    if total is None:
        total = sums[key] = Tally(kind, subject, "", flow.country if kind == "country" else "", flow.at)
    total.at = max(total.at, flow.at)
    total.errors += flow.errors
    total.errors_mta += flow.errors_mta
    total.errors_sasl += flow.errors_sasl
    if kind == "country":  # of the whole system only errors are counted
        total.messages += flow.messages
        total.recipients += flow.recipients
        total.failed += flow.failed
