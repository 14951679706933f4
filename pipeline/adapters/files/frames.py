"""Log lines as frames: which topic a line belongs to, and how many go into one message."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from schemas.topics import AUTHLOG, MAILLOG

MAX_LINE = 262_144
MAX_FRAME = 524_288

TopicChoice = Literal["maillog", "authlog", "auto"]

# What the access servers call themselves. An MTA's line has its own program (``postfix/smtpd``) in that place, and
# whatever a client wrote comes after it.
_PROGRAM = (
    rb"(?:dovecot|imapd?|pop3d?|managesieve|sieve|submission|auth(?:d|daemond)?|saslauthd|lmtp|lda"
    rb"|cyrus|courier|indexer|stats|anvil|replicator)(?:[-/][\w.-]+)*"
)
_TRADITIONAL = rb"[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d(?:\.\d+)?"
_ISO = rb"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*"
_AUTH = re.compile(
    rb"(?:<\d{1,3}>)?"
    rb"(?:1 " + _ISO + rb" \S+ " + _PROGRAM + rb" "  # RFC 5424
    rb"|(?:" + _TRADITIONAL + rb"|" + _ISO + rb") (?:\S+ )?" + _PROGRAM + rb"(?:\[\d+\]|\([^ ]*\))*(?:<[^ ]*)?:)"
)


@dataclass(frozen=True, slots=True)
class Frame:
    """Whole lines for one message. ``end``: the position in the file after the last of them, bytes."""

    topic: str
    value: bytes
    end: int
    lines: int


def topic_of(line: bytes) -> str:
    """``authlog`` for a line of an IMAP, POP3 or SASL server, ``maillog`` for any other, told by its program name."""
    return AUTHLOG.name if _AUTH.match(line) else MAILLOG.name


def shortened(line: bytes, size: int) -> bytes:
    """A line of ``MAX_LINE`` bytes at most; ``size``, which it really had, is said at its end."""
    if size <= MAX_LINE:
        return line
    return line[: MAX_LINE - 64] + b" [sekimori: the line had %d bytes]" % size


def frames(
    lines: Sequence[bytes], ends: Sequence[int], choice: TopicChoice, skip: Mapping[str, int], batch_lines: int
) -> Iterator[Frame]:
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
            yield Frame(topic, b"\n".join(batch), last[topic], len(batch))
            batch.clear()
            size = len(line) + 1
        batch.append(line)
        sizes[topic] = size
        last[topic] = end
    for topic, batch in open_lines.items():
        yield Frame(topic, b"\n".join(batch), last[topic], len(batch))
