"""The whole flow, composed: frames of raw lines in, events, tallies and decisions out.

The streaming jobs, replay, backtests, notebooks and tests call only what is here.
"""

import ipaddress
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from types import MappingProxyType

from pipeline.decide import Allowlist
from pipeline.detector import Detector, Findings
from pipeline.enrich import Enricher, Lookup, no_country
from pipeline.formats import LineReader, Unreadable, split_frame
from pipeline.join import Joiner
from pipeline.rules import RuleSet
from pipeline.rules.config import RulesFile
from pipeline.subjects import Tallier, Trusted
from schemas.dead_letter import DeadLetter
from schemas.enforcement import Decision
from schemas.event import Event
from schemas.tally import LAST_TIME, Tally

# Connections and the rest are neither looked up nor counted; a queued message may turn out to be a submission.
COUNTED = frozenset({"submission", "delivery", "auth_failure", "auth_success", "reject"})
MAX_RAW = 4096  # characters of an unreadable line that are kept
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AHEAD = 86_400.0  # seconds that a clock may be ahead: whoever is, makes all others look late
OUT_OF_TIME = Unreadable("time", "more than a day ahead of when the line was received, or before 1970")


@dataclass(frozen=True)
class Batch:
    """What one frame became. ``ignored``: lines that no format claims."""

    events: list[Event]
    tallies: list[Tally]
    dead_letters: list[DeadLetter]
    lines: int
    ignored: int


class Normalizer:
    """Raw frames of one source (a partition, or a file), in order -> events and tallies.

    Holds the join state of the source; everything else it holds is caches.
    """

    def __init__(
        self,
        rules: RulesFile,
        zone: tzinfo = UTC,
        lookup: Lookup = no_country,
        zones: Mapping[str, tzinfo] = MappingProxyType({}),
    ) -> None:
        """``zone``: of lines that carry none; ``zones``: the same for single hosts."""
        self.reader = LineReader(zone, zones)
        self.joiner = Joiner(frozenset(str(ipaddress.ip_address(text)) for text in rules.trusted.webmail))
        self.enricher = Enricher(lookup)
        self.tallier = Tallier(trusted_hosts(rules))

    def normalize(self, frame: bytes, reference: float, source: str, offset: int) -> Batch:
        """``reference``: seconds since 1970, when the frame was sent; tells the year of lines without one.

        ``source``, ``offset``: where the frame came from; they name it in dead letters.
        """
        lines = split_frame(frame)
        events: list[Event] = []
        counted: list[tuple[Event, str]] = []
        dead: list[DeadLetter] = []
        ignored = 0
        latest, checked, possible = _time(reference + AHEAD), EPOCH, True
        for line, read in zip(lines, self.reader.read_lines(lines, reference), strict=True):
            if read is None:
                ignored += 1
                continue
            if isinstance(read, Unreadable):
                dead.append(_dead_letter(source, offset, ignored + len(events) + len(dead), line, read, reference))
                continue
            if read.time is not checked:
                checked, possible = read.time, EPOCH <= read.time <= latest
            if not possible:
                why = OUT_OF_TIME
                dead.append(_dead_letter(source, offset, ignored + len(events) + len(dead), line, why, reference))
                continue
            events.append(read)
            if read.kind in COUNTED or read.status == "queued":
                counted.append((read, line))
        self.joiner.join(events)
        self.enricher.enrich(event for event, _ in counted)
        return Batch(events, self.tallier.tally(counted), dead, len(lines), ignored)

    def retell(self, events: Iterable[Event]) -> list[Tally]:
        """The events of one frame, normalised before (stored ones, say) -> the same tallies, but for sample lines."""
        return self.tallier.tally((event, "") for event in events)


def _dead_letter(source: str, offset: int, index: int, line: str, why: Unreadable, reference: float) -> DeadLetter:
    return DeadLetter(
        source=source,
        offset=offset,
        index=index,
        reason=f"{why.format}: {why.reason}",
        raw=line[:MAX_RAW],
        time=_time(reference),
    )


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(min(max(seconds, 0.0), LAST_TIME - 1), UTC)


def trusted_hosts(rules: RulesFile) -> Trusted:
    """The predicate for our own hosts."""
    networks = [ipaddress.ip_network(text) for text in (*rules.trusted.hosts, *rules.trusted.webmail)]
    masked = [(n.version == 6, int(n.network_address), int(n.netmask)) for n in networks]

    def is_trusted(address: str) -> bool:
        is_v6 = ":" in address
        packed = socket.inet_pton(socket.AF_INET6 if is_v6 else socket.AF_INET, address)
        number = int.from_bytes(packed, "big")
        return any(v6 == is_v6 and number & mask == network for v6, network, mask in masked)

    return is_trusted


@dataclass
class Replay:
    """The whole flow in memory, over frames of one or several sources."""

    rules: RuleSet
    zone: tzinfo = UTC
    lookup: Lookup = no_country
    lines: int = 0
    ignored: int = 0
    dead_letters: list[DeadLetter] = field(default_factory=list)
    unreadable: int = 0

    def __post_init__(self) -> None:
        self._normalizers: dict[str, Normalizer] = {}
        self.detector = Detector(self.rules, Allowlist(self.rules.file.allow), self.rules.file.subjects)
        self._position = 0

    def feed(self, frame: bytes, reference: float, source: str) -> Iterator[Decision]:
        """One frame of a source -> the decisions that it brings about."""
        normalizer = self._normalizers.get(source)
        if normalizer is None:
            normalizer = self._normalizers[source] = Normalizer(self.rules.file, self.zone, self.lookup)
        batch = normalizer.normalize(frame, reference, source, self._position)
        self.lines += batch.lines
        self.ignored += batch.ignored
        self.unreadable += len(batch.dead_letters)
        self.dead_letters.extend(batch.dead_letters[: 100 - len(self.dead_letters)])
        yield from self._detect(batch.tallies)

    def _detect(self, tallies: Iterable[Tally]) -> Iterator[Decision]:
        while tallies:
            findings: Findings = self.detector.count(tallies, self._position)
            self._position += 1
            yield from findings.decisions
            tallies = findings.accusations


def first_time(frame: bytes, reference: float, zone: tzinfo) -> float:
    """Event time of the first readable line, seconds since 1970; ``-inf`` if there is none."""
    reader = LineReader(zone)
    for line in split_frame(frame):
        event = reader.read(line, reference)
        if isinstance(event, Event):
            return event.time.timestamp()
    return float("-inf")
