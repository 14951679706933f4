"""Every topic: what it holds, its key, and how the broker must keep it."""

from dataclasses import dataclass

from schemas.times import DAY

DAY_MS = DAY * 1000


@dataclass(frozen=True)
class Topic:
    """A Kafka topic. ``retention_ms`` is ignored where ``compacted``; ``max_bytes`` bounds one message.
    ``arrival``: messages are stamped by the broker when they arrive, whatever clock the sender has."""

    name: str
    key: str
    holds: str
    compacted: bool = False
    retention_ms: int = 7 * DAY_MS
    max_bytes: int = 1_048_576
    arrival: bool = False

    def config(self) -> dict[str, str]:
        """The broker's topic configuration."""
        # A broker that compresses anew costs time and gains nothing: senders have done it, or had reasons not to.
        common = {"max.message.bytes": str(self.max_bytes), "compression.type": "producer"}
        if self.arrival:
            common["message.timestamp.type"] = "LogAppendTime"
        if self.compacted:
            return common | {
                "cleanup.policy": "compact",
                "min.cleanable.dirty.ratio": "0.1",
                "segment.ms": "3600000",
                "segment.bytes": "67108864",
            }
        return common | {"cleanup.policy": "delete", "retention.ms": str(self.retention_ms)}


# What a message of raw lines becomes is larger than it, and must not be too large to be sent.
LARGE = 16 * 1_048_576

MAILLOG = Topic(
    "maillog", "host", "raw lines of MTAs and webmail, one or many per message, separated by LF", arrival=True
)
AUTHLOG = Topic("authlog", "host", "raw lines of IMAP, POP3 and SASL servers, one or many per message", arrival=True)
EVENTS = Topic("events", "host", "normalised events, JSON lines", max_bytes=LARGE)
DEAD_LETTERS = Topic(
    "dead-letters", "host", "what could not be read, with the reason", retention_ms=30 * DAY_MS, max_bytes=LARGE
)
TALLIES = Topic(
    "tallies", "none; the partition is given by the subject", "counts per subject, JSON lines", max_bytes=LARGE
)
ENFORCEMENT = Topic("enforcement", "kind:rule:subject", "block decisions; a tombstone lifts one", compacted=True)
SETTINGS = Topic("settings", "allow:kind:subject", "allowlist; a tombstone removes an entry", compacted=True)

NORMALIZE_STATE = Topic("normalize-state", "source.id/part", "join state of each source", True, max_bytes=LARGE)
DETECT_STATE = Topic("detect-state", "source.id/partition/shard", "windows of each shard", True, max_bytes=LARGE)

TOPICS: tuple[Topic, ...] = (
    MAILLOG,
    AUTHLOG,
    EVENTS,
    DEAD_LETTERS,
    TALLIES,
    ENFORCEMENT,
    SETTINGS,
    NORMALIZE_STATE,
    DETECT_STATE,
)
