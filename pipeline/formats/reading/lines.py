"""Lines of one source -> what each of them says.

A log has few heads (time, host and tag, without the pid) and many lines: what a head means is found out once and kept.
Of a line whose head is new the cases are told one by one below.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo

from pipeline.formats import FORMATS
from pipeline.formats.reading.around.batches import BATCHES, has_batches, records, taken_apart
from pipeline.formats.reading.around.folded import FOLDED, REPEATED, read_body, times, told
from pipeline.formats.reading.around.missed import form_of
from pipeline.formats.reading.around.wrappings import TAGGED, WRAPPER, Unwrapped, unwrapped
from pipeline.formats.reading.envelopes import Envelope, decode_object, open_envelope
from pipeline.formats.reading.format import OF_PROCESS, Outcome, Reader, Unreadable
from pipeline.formats.reading.headers import PRI, read_header
from pipeline.formats.reading.routes import Route, Routes
from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event

TABLE = Routes(FORMATS)
_NEVER_TWICE = re.compile(r"[(<]")  # a user's name and session, or the whole header of RFC 5424
_ROUTES = 4096  # tags are written by whoever writes to syslog: the cache is bounded
_HEADS = 65_536
_NOT_PLAIN = (REPEATED, *OF_PROCESS[1:])
_OF_CLIENT = ("client=", "proxy-")
_NO_HEADER = ("{", "[", "<")
_DEEPEST = 3  # envelopes within envelopes, and whatever else is wrapped around a line
_LONGEST_HEAD = 200


class LineReader:
    """Reads the lines of one source. Holds caches only: a line's outcome depends on the line and the reference.

    ``zone``: of time stamps that carry none; ``zones``: the same of single hosts, by the name in their lines.
    ``reference``: seconds since 1970 at which the line was received (Kafka message time, file modification); it gives
    RFC 3164 stamps their year.
    """

    def __init__(self, zone: tzinfo = UTC, zones: Mapping[str, tzinfo] | None = None) -> None:
        self._stamps = Stamps(zone)
        self._zoned = {host: Stamps(own) for host, own in (zones or {}).items()}
        self._routes: dict[str, Route] = {}  # by what follows the time in a head: "mx postfix/smtpd"
        self._heads: dict[str, tuple[Reader, datetime, str, str, str | None]] = {}

    def read(self, line: str, reference: float) -> Event | Unreadable | None:
        """The event of one line; ``None`` if no format claims it."""
        return self.read_lines([line], reference)[0]

    def read_lines(self, lines: Iterable[str], reference: float) -> list[Event | Unreadable | None]:
        """The outcome of each line, in order; the same as ``read`` one by one, and faster."""
        if sum([stamps.refer(reference) for stamps in (self._stamps, *self._zoned.values())]):
            self._heads.clear()
        heads, repeated, not_plain = self._heads, REPEATED, _NOT_PLAIN
        outcomes: list[Outcome] = []
        append = outcomes.append
        for line in lines:
            parts = line.split(": ", 2)
            head, bracket, pid = parts[0].partition("[")
            known = heads.get(head)
            if known is None or (bracket and not pid[:-1].isdigit()):
                append(self._read_other(line, parts, reference))
                continue
            reader, time, host, program, service = known
            if len(parts) == 3:
                first = parts[1]
                # To compare is far cheaper, and mostly enough: queue ids come before "N", which is NOQUEUE's.
                if first >= "N" and (
                    (first >= repeated and first.startswith(not_plain))
                    or (first < "O" and parts[2].startswith(_OF_CLIENT))
                ):
                    append(self._read_other(line, parts, reference))
                    continue
                append(reader(time, host, program, service, first, parts[2]))
            elif len(parts) == 2:
                append(reader(time, host, program, service, parts[1], ""))
            else:
                append(self._read_new(line, parts, reference))
        return outcomes

    def form_of(self, line: str, reference: float) -> tuple[str, str]:
        """(host, form) of a line that no format claims, see ``missed``."""
        return form_of(line, self._stamps, reference)

    def _read_other(self, line: str, parts: list[str], reference: float) -> Outcome:
        if len(parts) == 3 and parts[1].startswith(REPEATED):
            return self._read_repeated(line, parts, reference)
        return self._read_new(line, parts, reference)

    def _read_repeated(self, line: str, parts: list[str], reference: float, depth: int = 0) -> Outcome:
        """rsyslog writes one line for equal ones that came one after another: it stands for as many as it says."""
        folded = FOLDED.fullmatch(f"{parts[1]}: {parts[2]}")
        if folded is None:
            return self._read_new(line, parts, reference, depth)
        unfolded = f"{parts[0]}: {folded[2]}"
        return times(self._read_one(unfolded, unfolded.split(": ", 2), reference, depth), folded)

    def _read_new(self, line: str, parts: list[str], reference: float, depth: int = 0) -> Outcome:
        """A line whose head is new. If its time and its tag are not, nothing more need be looked at."""
        head = parts[0].partition("[")[0]
        time, route = self._stamps.seen(head[:16]), self._routes.get(head[16:])
        if time is not None and route is not None and self._is_plain(parts, head, route):
            return self._read_parts(parts, time, route, head)
        if line.startswith(_NO_HEADER):
            return self._read_wrapped(line, parts, reference, depth)
        if head[4:5] == "-":
            return self._read_iso(line, parts, head, reference, depth)
        return self._read_whole(line, parts, head, reference, depth)

    def _read_iso(self, line: str, parts: list[str], head: str, reference: float, depth: int) -> Outcome:
        """Its stamp is of ISO 8601: with a ``T`` in syslog, with a blank in a program's own log file."""
        own_log = head[10:11] == " "
        outcome = TABLE.bare(line, self._stamps) if own_log else None
        if outcome is not None:
            return outcome
        stamp, _, origin = head.partition(" ")
        known = None if own_log else self._heads.get(origin)
        if known is not None and depth < _DEEPEST and _is_whole(parts, head):  # as docker logs -t has a plain line
            return self._read_inner(line[len(stamp) + 1 :], reference, depth + 1)
        time = self._stamps.iso(stamp) if stamp[4:17:3] == "--T::" else None  # not all of ISO 8601 is a log's stamp
        route = self._routes.get(origin)
        again = "." not in stamp  # with fractions no two heads are the same
        if time is None or route is None or not self._is_plain(parts, head, route):
            return self._read_whole(line, parts, head, reference, depth, again=again, own_log=own_log)
        return self._read_parts(parts, time, route, head if again else "")

    def _is_plain(self, parts: list[str], head: str, route: Route) -> bool:
        """Whether the head is all that need be known, and its host has no clock of its own."""
        return _is_whole(parts, head) and not (self._zoned and route.host in self._zoned)

    def _read_wrapped(self, line: str, parts: list[str], reference: float, depth: int) -> Outcome:
        """It begins with a sign: a priority (``<22>``) before one more line or a header of RFC 5424, or no header."""
        priority = PRI.match(line)
        if priority is None:
            return self._read_bare(line, reference, depth)
        if line.startswith(("1 ", "<"), priority.end()):
            return self._read_whole(line, parts, parts[0].partition("[")[0], reference, depth)
        return self._read_inner(line[priority.end() :], reference, depth)

    def _read_whole(
        self, line: str, parts: list[str], head: str, reference: float, depth: int, again: bool = True,
        own_log: bool = False,
    ) -> Outcome:  # fmt: skip
        """A line whose header must be looked at in full. ``again``: the same head may come again."""
        header = read_header(line, self._stamps, reference)
        if header is not None and header.host in self._zoned:
            header = read_header(line, self._zoned[header.host], reference) or header
        route = None if header is None else TABLE.tagged(header.host, header.tag)
        if header is None or route is None:
            return self._read_bare(line, reference, depth)
        if not route.known and WRAPPER.fullmatch(header.tag):
            return self._read_within(Unwrapped(header.text, header.time, header.host.strip("-")), reference, depth + 1)
        if header.time is None:
            return Unreadable("syslog", "there is no such date or time") if route.known else None
        origin = f"{header.host} {header.tag}" if header.host else header.tag
        # What is kept must be all that tells: whatever line has this head, it means the same.
        whole = _is_whole(parts, head) and head.endswith(origin) and not _NEVER_TWICE.search(head)
        if not whole or (own_log and not route.known):
            return read_body(route, header.time, header.host, header.text, header.pid)
        if own_log:
            return self._read_parts(parts, header.time, route, "")
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        self._routes[origin] = route
        return self._read_parts(parts, header.time, route, head if again else "")

    def _read_parts(self, parts: list[str], time: datetime, route: Route, head: str) -> Outcome:
        """A line that is split already; what ``head`` means is kept, but for "" and where the pid tells lines apart."""
        service = route.service
        if head and not route.told_pid:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[head] = route.reader, time, route.host, route.program, service
        if route.told_pid or (parts[1] >= "N" and parts[1] in OF_PROCESS):
            pid = parts[0].rpartition("[")[2].removesuffix("]") if parts[0].endswith("]") else None
            service = told(route, parts[1], pid)
        return route.reader(time, route.host, route.program, service, parts[1], parts[2] if len(parts) > 2 else "")

    def _read_inner(self, line: str, reference: float, depth: int) -> Outcome:
        """A line out of what was wrapped around it."""
        parts = line.split(": ", 2)
        if len(parts) == 3 and parts[1].startswith(REPEATED):
            return self._read_repeated(line, parts, reference, depth)
        return self._read_one(line, parts, reference, depth)

    def _read_one(self, line: str, parts: list[str], reference: float, depth: int) -> Outcome:
        """A line that stands for itself alone."""
        head = parts[0].partition("[")[0]
        known = self._heads.get(head)
        if known is None or not _is_whole(parts, head) or parts[1].startswith(OF_PROCESS):
            return self._read_new(line, parts, reference, depth)
        reader, time, host, program, service = known
        return reader(time, host, program, service, parts[1], parts[2] if len(parts) == 3 else "")

    def _read_bare(self, line: str, reference: float, depth: int) -> Outcome:
        """A line that begins with no syslog header that we know: JSON, a program's own log, what others wrapped."""
        if line.startswith("{"):
            return self._read_object(line, reference, depth)
        outcome = TABLE.bare(line, self._stamps)
        if outcome is None and depth < _DEEPEST:
            inner = unwrapped(line, (self._stamps, *self._zoned.values()))
            if inner is not None:
                return self._read_within(inner, reference, depth + 1)
        return outcome

    def _read_within(self, inner: Unwrapped, reference: float, depth: int) -> Outcome:
        """A line out of what was wrapped around it, which tells only what the line itself does not."""
        if depth > _DEEPEST:
            return None
        outcome = self._read_inner(inner.line, reference, depth)
        if outcome is None and not inner.line.startswith(_NO_HEADER):
            tagged = TAGGED.match(inner.line)
            if tagged is not None:
                route = TABLE.tagged(inner.host, tagged[1])
                outcome = _read_routed(route, inner.time, inner.host, inner.line[tagged.end() :], tagged[2])
        if outcome is None:
            return None
        if inner.trouble:
            return Unreadable("syslog", inner.trouble)
        if isinstance(outcome, Event):
            outcome.host = outcome.host or inner.host
            if inner.microseconds:
                outcome.time = outcome.time.replace(microsecond=inner.microseconds)
        return outcome

    def _read_object(self, line: str, reference: float, depth: int) -> Outcome:
        """A JSON object: a program's own, or a shipper's envelope around a line."""
        fields = decode_object(line)
        if fields is None:
            return None
        outcome = TABLE.object(fields, self._stamps)
        if outcome is not None or depth >= _DEEPEST:
            return outcome
        batch = None if fields.keys().isdisjoint(BATCHES) else records(fields)
        if batch is not None:
            if len(batch) > 1:
                return Unreadable("envelope", "several records in one, within another")
            fields = batch[0] if batch else {}
        envelope = open_envelope(fields, self._stamps)
        if envelope is not None and envelope.host in self._zoned:
            envelope = open_envelope(fields, self._zoned[envelope.host])
        return None if envelope is None else self._read_envelope(envelope, reference, depth + 1)

    def _read_envelope(self, envelope: Envelope, reference: float, depth: int) -> Outcome:
        time, host, tag, message, pid, contained = envelope
        route = TABLE.tagged(host, tag) if tag else None
        if not tag or ((route is None or not route.known) and (contained or WRAPPER.fullmatch(tag))):
            return self._read_within(Unwrapped(message, time, host), reference, depth)
        return _read_routed(route, time, host, message, pid)


def _read_routed(route: Route | None, time: datetime | None, host: str, text: str, pid: str | None) -> Outcome:
    """A text of which the program is told, and of which others told the rest."""
    if route is None:
        return None
    if time is None:
        return Unreadable("envelope", "no time that can be read") if route.known else None
    return read_body(route, time, host, text, pid)


def _is_whole(parts: list[str], head: str) -> bool:
    """Whether a text follows the head, and nothing or a pid stands between them."""
    before = parts[0]
    if len(parts) == 1 or len(head) > _LONGEST_HEAD:
        return False
    return len(before) == len(head) or before[len(head) + 1 : -1].isdigit()


def split_frame(frame: bytes, *, keep_empty: bool = False) -> list[str]:
    r"""The lines of a frame: bytes that are not UTF-8 as ``\xNN``, split on LF only.

    A carriage return before the LF, a byte order mark at the start and NUL bytes at the ends of a line are dropped,
    and so are empty lines unless ``keep_empty``.
    """
    text = frame.decode("utf-8", "backslashreplace").removeprefix("\ufeff")
    lines = text.split("\n")
    if "\r" in text or "\0" in text:
        lines = [line.removesuffix("\r").strip("\0") for line in lines]
    if has_batches(text):
        lines = [record for line in lines for record in taken_apart(line)]
    if keep_empty:
        return lines if lines[-1] else lines[:-1]
    return [line for line in lines if line]
