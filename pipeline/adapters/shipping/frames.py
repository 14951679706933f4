"""Log lines as frames: how many go into one message."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.formats.reading.topic import topic_of

MAX_LINE = 262_144
MAX_FRAME = 524_288

TopicChoice = Literal["maillog", "authlog", "auto"]


@dataclass(frozen=True, slots=True)
class ShippedFrame:
    """Whole lines for one message. ``end``: the position in the file after the last of them, bytes."""

    topic: str
    value: bytes
    end: int
    lines: int


def shortened(line: bytes, size: int) -> bytes:
    """A line of ``MAX_LINE`` bytes at most; ``size``, which it really had, is said at its end."""
    if size <= MAX_LINE:
        return line
    return line[: MAX_LINE - 64] + b" [sekimori: the line had %d bytes]" % size


def frames(
    lines: Sequence[bytes], ends: Sequence[int], choice: TopicChoice, skip: Mapping[str, int], batch_lines: int
) -> Iterator[ShippedFrame]:
    """Lines of one file, in order within each topic, without those that the topic has up to ``skip[topic]`` already."""
    open_lines: dict[str, list[bytes]] = {}
    sizes: dict[str, int] = {}
    last: dict[str, int] = {}
    fixed = None if choice == "auto" else choice
    done = max(skip.values(), default=0)
    for line, end in zip(lines, ends, strict=True):
        topic = fixed or topic_of(line)
        if end <= done and end <= skip.get(topic, 0):
            continue
        batch = open_lines.setdefault(topic, [])
        size = sizes.get(topic, 0) + len(line) + 1
        if batch and (len(batch) >= batch_lines or size > MAX_FRAME):
            yield ShippedFrame(topic, b"\n".join(batch), last[topic], len(batch))
            batch.clear()
            size = len(line) + 1
        batch.append(line)
        sizes[topic] = size
        last[topic] = end
    for topic, batch in open_lines.items():
        yield ShippedFrame(topic, b"\n".join(batch), last[topic], len(batch))
