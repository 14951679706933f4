"""Stage 1: a log line -> an event. One small file for each family of programs, examples beside it.

A line that no format claims is ignored; one that a format claims and cannot read is ``Unreadable``. Whatever a
client can write is hostile: fields are found from the end that the server wrote, and where a line can be read in
two ways it gives no account and no address rather than a wrong one.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo

from pipeline.formats import (
    amavis,
    clamav_milter,
    courier,
    courier_smtp,
    cyrus,
    dkim,
    dovecot,
    dovecot_auth,
    dovecot_login,
    exim,
    haraka,
    horde,
    kumomta,
    nextcloud,
    nginx_mail,
    open_xchange,
    opensmtpd,
    pam,
    perdition,
    popa3d,
    postfix,
    postfix_delivery,
    postfix_queue,
    postfix_smtpd,
    qmail,
    roundcube,
    rspamd,
    saslauthd,
    sendmail,
    snappymail,
    sogo,
    solid_pop3d,
    spamassassin,
    squirrelmail,
    uw_imap,
    zimbra,
)
from pipeline.formats.envelopes import Envelope, decode_object, open_envelope
from pipeline.formats.fields import Format, Outcome, Reader, Unreadable
from pipeline.formats.headers import CONTAINER, PRI, TAGGED, Header, read_header
from pipeline.formats.routes import Route, Routes
from pipeline.formats.stamps import Stamps
from schemas.event import Event

__all__ = ["FORMATS", "LineReader", "Unreadable", "split_frame"]

FORMATS: tuple[Format, ...] = (
    postfix_smtpd.FORMAT,
    postfix_queue.FORMAT,
    postfix_delivery.FORMAT,
    postfix.FORMAT,
    dovecot_login.FORMAT,
    dovecot_auth.FORMAT,
    dovecot.FORMAT,
    pam.FORMAT,
    courier.FORMAT,
    cyrus.FORMAT,
    uw_imap.FORMAT,
    saslauthd.FORMAT,
    perdition.FORMAT,
    popa3d.FORMAT,
    solid_pop3d.FORMAT,
    nginx_mail.FORMAT,
    roundcube.FORMAT,
    sogo.FORMAT,
    horde.FORMAT,
    squirrelmail.FORMAT,
    snappymail.FORMAT,
    open_xchange.FORMAT,
    nextcloud.FORMAT,
    exim.FORMAT,
    sendmail.FORMAT,
    opensmtpd.FORMAT,
    courier_smtp.FORMAT,
    qmail.FORMAT,
    haraka.FORMAT,
    kumomta.FORMAT,
    zimbra.FORMAT,
    rspamd.FORMAT,
    spamassassin.FORMAT,
    amavis.FORMAT,
    clamav_milter.FORMAT,
    dkim.FORMAT,
)
_NEVER_TWICE = re.compile(r"[(<]")  # a user's name and session, or the whole header of RFC 5424
_ROUTES = 4096  # tags are written by whoever writes to syslog: the cache is bounded
_HEADS = 65_536
_NO_HEADER = ("{", "[", "<")
_DEEPEST = 3  # envelopes within envelopes
_LONGEST_HEAD = 200


_TABLE = Routes(FORMATS)


class LineReader:
    """Reads the lines of one source. Holds caches only: a line's outcome depends on the line and the reference.

    ``zone``: of time stamps that carry none; ``zones``: the same of single hosts, by the name in their lines.
    ``reference``: seconds since 1970 at which the line was received (Kafka message time, file modification); it gives
    RFC 3164 stamps their year.
    """

    def __init__(self, zone: tzinfo = UTC, zones: Mapping[str, tzinfo] | None = None) -> None:
        self._stamps = Stamps(zone)
        self._zoned = {host: Stamps(own) for host, own in (zones or {}).items()}
        self._routes: dict[str, Route] = {}
        self._heads: dict[str, tuple[Reader, datetime, str, str, str | None]] = {}

    def read(self, line: str, reference: float) -> Event | Unreadable | None:
        """The event of one line; ``None`` if no format claims it."""
        return self.read_lines([line], reference)[0]

    def read_lines(self, lines: Iterable[str], reference: float) -> list[Event | Unreadable | None]:
        """The outcome of each line, in order; the same as ``read`` one by one, and faster."""
        if sum([stamps.refer(reference) for stamps in (self._stamps, *self._zoned.values())]):
            self._heads.clear()
        heads = self._heads
        outcomes: list[Outcome] = []
        append = outcomes.append
        for line in lines:
            parts = line.split(": ", 2)
            known = heads.get(parts[0].partition("[")[0])
            if known is None:
                append(self._read_new(line, parts, reference))
                continue
            reader, time, host, program, service = known
            if len(parts) == 3:
                append(reader(time, host, program, service, parts[1], parts[2]))
            else:
                append(reader(time, host, program, service, parts[-1], ""))
        return outcomes

    def _read_new(self, line: str, parts: list[str], reference: float, depth: int = 0) -> Outcome:
        """A line whose time and tag were not seen together before."""
        head = parts[0].partition("[")[0]
        time, key, lasting, own = self._stamps.seen(head[:16]), head[16:], True, False
        if head[4:5] == "-":
            own = head[10:11] == " "  # a stamp as in a program's own log file
            outcome = _TABLE.bare(line, self._stamps) if own else None
            if outcome is not None:
                return outcome
            stamp, _, key = head.partition(" ")
            time, lasting = self._stamps.iso(stamp), "." not in stamp  # with fractions no two heads are the same
        route = self._routes.get(key)
        if time is None and line.startswith(_NO_HEADER):
            pri = PRI.match(line)
            if pri is None:
                return self._read_bare(line, reference, depth)
            if not line.startswith(("1 ", "<"), pri.end()):
                return self._read_one(line[pri.end() :], reference, depth)
        if time is None or route is None or len(parts) == 1 or (self._zoned and route.host in self._zoned):
            header = read_header(line, self._stamps, reference)
            if header is not None and header.host in self._zoned:
                header = read_header(line, self._zoned[header.host], reference) or header
            route = None if header is None else _TABLE.tagged(header.host, header.tag)
            if header is None or route is None:
                return self._read_bare(line, reference, depth)
            time = header.time
            if time is None:
                return Unreadable("syslog", "there is no such date or time") if route.known else None
            if len(parts) == 1 or (own and not route.known) or len(head) > _LONGEST_HEAD or _NEVER_TWICE.search(head):
                return self._read_text(route, time, header)
            if len(self._routes) >= _ROUTES:
                self._routes.clear()
            self._routes[f"{header.host} {header.tag}".lstrip()] = route
        if route.told_pid:
            pid = parts[0].rpartition("[")[2].removesuffix("]") if parts[0].endswith("]") else None
            route, lasting = route._replace(service=pid), False
        if lasting:
            if len(self._heads) >= _HEADS:
                self._heads.clear()
            self._heads[head] = route.reader, time, route.host, route.program, route.service
        rest = parts[2] if len(parts) > 2 else ""
        return route.reader(time, route.host, route.program, route.service, parts[1], rest)

    def _read_text(self, route: Route, time: datetime, header: Header) -> Outcome:
        first, _, rest = header.text.partition(": ")
        service = header.pid if route.told_pid else route.service
        return route.reader(time, route.host, route.program, service, first, rest)

    def _read_one(self, line: str, reference: float, depth: int) -> Outcome:
        """A line out of an envelope."""
        parts = line.split(": ", 2)
        known = self._heads.get(parts[0].partition("[")[0])
        if known is None or len(parts) == 1:
            return self._read_new(line, parts, reference, depth)
        reader, time, host, program, service = known
        return reader(time, host, program, service, parts[1], parts[2] if len(parts) == 3 else "")

    def _read_bare(self, line: str, reference: float, depth: int) -> Outcome:
        """A line that begins with no syslog header that we know."""
        if line.startswith("{"):
            fields = decode_object(line)
            if fields is None:
                return None
            outcome = _TABLE.object(fields, self._stamps)
            envelope = open_envelope(fields, self._stamps) if outcome is None and depth < _DEEPEST else None
            if envelope is not None and envelope.host in self._zoned:
                envelope = open_envelope(fields, self._zoned[envelope.host])
            return outcome if envelope is None else self._read_envelope(envelope, reference, depth + 1)
        outcome = _TABLE.bare(line, self._stamps)
        if outcome is None and depth < _DEEPEST:
            wrapped = CONTAINER.match(line)
            if wrapped is not None:
                return self._read_one(line[wrapped.end() :], reference, depth + 1)
        return outcome

    def _read_envelope(self, envelope: Envelope, reference: float, depth: int) -> Outcome:
        time, host, tag, message, pid = envelope
        if not tag:
            outcome = self._read_one(message, reference, depth)
            if outcome is None and not message.startswith(_NO_HEADER):
                tagged = TAGGED.match(message)
                tag, message = (tagged[1], message[tagged.end() :]) if tagged else ("", message)
            if not tag:
                if isinstance(outcome, Event) and not outcome.host:
                    outcome.host = host
                return outcome
        route = _TABLE.tagged(host, tag)
        if route is None:
            return None
        if time is None:
            return Unreadable("envelope", "no time that can be read") if route.known else None
        first, _, rest = message.partition(": ")
        return route.reader(time, host, route.program, pid if route.told_pid else route.service, first, rest)


def split_frame(frame: bytes, *, keep_empty: bool = False) -> list[str]:
    r"""The lines of a frame: bytes that are not UTF-8 as ``\xNN``, split on LF only.

    A carriage return before the LF, a byte order mark at the start and NUL bytes at the ends of a line are dropped,
    and so are empty lines unless ``keep_empty``.
    """
    text = frame.decode("utf-8", "backslashreplace").removeprefix("\ufeff")
    lines = text.split("\n")
    if "\r" in text or "\0" in text:
        lines = [line.removesuffix("\r").strip("\0") for line in lines]
    if keep_empty:
        return lines if lines[-1] else lines[:-1]
    return [line for line in lines if line]
