"""Messages without a key: their lines go on, each to the partition of its host.

Only lines that lie on one partition are joined, and a sender that gives no key scatters those of one mail over all of
them. So what came without a key is written once more, by host, with the host as its key. Each message that is passed on
says by a header which frame it was made of, and a partition remembers which of them it has seen (``sources``): what a
killed worker had passed on already is passed on again, and left out there.

Between partitions there is no order: what is passed on may overtake. ``joining`` makes up for it.

Whom this can hurt: nobody but the cluster, for each line travels twice. Who may write to the topic can forge the
header, and by each message hide what is passed on of ``sources.GAP`` frames at most; what is left out is counted.
"""

import re

from pipeline.formats.reading.lines import LineReader
from pipeline.partition import REFERENCE, ZONE, Outgoing
from pipeline.ports import Record
from pipeline.sources import Sources
from schemas.event import Event

PASSED = "passed"  # header: source, offset of its frame, number of the message among those made of the frame
HALF = 524_288  # bytes of a frame that is passed on at most: what was a message alone must fit with headers
LONGEST = 1_000_000  # bytes of a line that is passed on: a longer one, unpacked from its message, fits in none
KEY = 255  # bytes of a host that make the key: no host's name is longer (RFC 1035)
NO_HOST = b"-"
_TOLD = re.compile(rb"([a-z]+-[0-9]{1,5}(?:\+[0-9]{1,9})?(?:#[0-9]{1,5})?\.[0-9]{1,6}) ([0-9]{1,18})")


def is_unkeyed(record: Record) -> bool:
    """Is it to be passed on? An empty key is none: librdkafka scatters such messages, too."""
    return not record.key and all(name != PASSED for name, _ in record.headers)


def by_host(lines: list[str], reader: LineReader, reference: float) -> tuple[dict[bytes, list[str]], list[str]]:
    """The lines of each host, in order, and those that speak of nobody: no format claims them, or can read them."""
    hosts: dict[bytes, list[str]] = {}
    rest: list[str] = []
    for line, read in zip(lines, reader.read_lines(lines, reference), strict=True):
        if isinstance(read, Event):
            hosts.setdefault(read.host.encode()[:KEY] or NO_HOST, []).append(line)
        else:
            rest.append(line)
    return hosts, rest


class Passing:
    """What one partition passes on, and what it has ``seen`` of that."""

    def __init__(self) -> None:
        self.seen = Sources()

    def pass_on(self, record: Record, source: str, hosts: dict[bytes, list[str]]) -> list[Outgoing]:
        """A message for each host. ``source``: of the frame."""
        kept = tuple(header for header in record.headers if header[0] in (REFERENCE, ZONE))
        out = []
        for number, (host, lines) in enumerate(hosts.items()):
            passed = (PASSED, f"{source}.{number} {record.offset}".encode())
            out.append(Outgoing(record.topic, "\n".join(lines).encode(), host, headers=(passed, *kept)))
        return out

    def is_repeated(self, record: Record) -> bool:
        """Was this seen before? Whatever is no such header says nothing."""
        told = next((value for name, value in record.headers if name == PASSED), None)
        match = None if told is None else _TOLD.fullmatch(told)
        return match is not None and self.seen.count(match[1].decode(), int(match[2])) == "again"
