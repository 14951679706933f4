"""Every metric, once: name, kind, labels, meaning. Jobs record by name; a name that is not listed is an error.

Names follow Prometheus: base units (seconds, bytes), counters end in ``_total``.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class MetricFamily:
    """One metric, with a value for each combination of ``labels``. ``buckets``: the upper bounds of a histogram, in the
    metric's unit."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Recorder(Protocol):
    """Where measurements go. Labels are given by position, in the order of the metric's declaration.

    Every method raises KeyError if METRICS has no such metric of its kind, and ValueError for a wrong number of labels.
    """

    def add(self, name: str, value: float = 1, *labels: str) -> None:
        """Counter: adds ``value`` >= 0, else raises ValueError."""

    def set(self, name: str, value: float, *labels: str) -> None:
        """Gauge: now has this value."""

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Histogram: one more observation."""


_AGE = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 600, 3600)

ENFORCE: tuple[MetricFamily, ...] = (
    MetricFamily("sekimori_enforce_requests_total", "counter", "Requests by hook and answer", ("hook", "answer")),
    MetricFamily(
        "sekimori_enforce_refused_requests_total", "counter", "Requests closed without an answer", ("hook", "why")
    ),
    MetricFamily("sekimori_enforce_connections", "gauge", "Open connections over which mail servers ask line by line"),
    MetricFamily(
        "sekimori_enforce_reports_total", "counter", "Logins that Dovecot reported", ("success", "policy_reject")
    ),
    MetricFamily("sekimori_enforce_decisions", "gauge", "Decisions in the table", ("mode",)),
    MetricFamily(
        "sekimori_enforce_unobeyed_countries", "gauge", "Countries restricted, without a GeoIP file to know them"
    ),
    MetricFamily("sekimori_enforce_allow_entries", "gauge", "Allowlist entries in the table"),
    MetricFamily("sekimori_enforce_expired_total", "counter", "Decisions dropped because their time was over"),
    MetricFamily("sekimori_enforce_messages_total", "counter", "Messages read from Kafka", ("topic", "outcome")),
    MetricFamily("sekimori_enforce_decision_age_seconds", "histogram", "Event time to table, live decisions", (), _AGE),
    MetricFamily("sekimori_enforce_table_age_seconds", "gauge", "Seconds since Kafka was last heard; NaN: never"),
    MetricFamily("sekimori_enforce_ready", "gauge", "1 once the topics were read to their end"),
    MetricFamily("sekimori_enforce_lag_messages", "gauge", "Messages in Kafka that the table does not show yet"),
    MetricFamily("sekimori_enforce_reads_total", "counter", "Full readings of the topics", ("outcome",)),
    MetricFamily("sekimori_enforce_snapshot_age_seconds", "gauge", "Seconds since the last snapshot; NaN: none"),
    MetricFamily("sekimori_enforce_clock_leaps_total", "counter", "Times that the clock of the host was moved"),
    MetricFamily("sekimori_enforce_failures_total", "counter", "Rounds of the agent's housekeeping that failed"),
    MetricFamily("sekimori_enforce_snapshots_total", "counter", "Snapshots by what became of them", ("outcome",)),
)

NORMALIZE: tuple[MetricFamily, ...] = (
    MetricFamily(
        "sekimori_normalize_lines_total", "counter", "Lines by topic and what became of them", ("topic", "outcome")
    ),
    MetricFamily(
        "sekimori_normalize_unkeyed_total", "counter", "Lines of messages without a key, passed on by host", ("topic",)
    ),
    MetricFamily("sekimori_normalize_repeated_total", "counter", "Messages passed on twice, and left out"),
    MetricFamily(
        "sekimori_normalize_doubled_lines_total",
        "counter",
        "Lines that another file of the host held too, counted once",
    ),
    MetricFamily("sekimori_normalize_unknown_zones_total", "counter", "Messages whose header zone names no zone"),
    MetricFamily(
        "sekimori_normalize_moved_total", "counter", "Lines whose time was moved: their host's clock is wrong"
    ),
    MetricFamily(
        "sekimori_normalize_clock_skew_seconds",
        "gauge",
        "Seconds that a host's clock is ahead (< 0: behind)",
        ("host",),
    ),
    MetricFamily("sekimori_normalize_geoip_refused_total", "counter", "GeoIP files that could not be read"),
    MetricFamily(
        "sekimori_normalize_missed_total",
        "counter",
        "Lines that look like mail log and that no format claims, by host and form",
        ("host", "form"),
    ),
    MetricFamily("sekimori_normalize_forgotten_total", "counter", "Queue ids and sessions forgotten to stay in bounds"),
)

DETECT: tuple[MetricFamily, ...] = (
    MetricFamily("sekimori_detect_tallies_total", "counter", "Tallies counted"),
    MetricFamily("sekimori_detect_decisions_total", "counter", "Decisions by rule and mode", ("rule", "mode")),
    MetricFamily("sekimori_detect_allowed_total", "counter", "Findings against allowlisted subjects, let pass"),
    MetricFamily(
        "sekimori_detect_repeated_frames_total", "counter", "Frames left out because they were counted before"
    ),
    MetricFamily(
        "sekimori_detect_frames_ahead_total", "counter", "Frames far ahead of all others of their source, counted"
    ),
    MetricFamily("sekimori_detect_evicted_total", "counter", "Subjects forgotten to stay in bounds"),
    MetricFamily("sekimori_detect_subjects", "gauge", "Subjects remembered", ("partition",)),
    MetricFamily("sekimori_detect_dead_letters_total", "counter", "Messages that could not be read"),
    MetricFamily("sekimori_detect_held_total", "counter", "Decisions held by the brake"),
    MetricFamily("sekimori_detect_releases_total", "counter", "Decisions that operators lifted, heard by partitions"),
    MetricFamily("sekimori_detect_swept_total", "counter", "Tombstones for decisions that had been over for a day"),
    MetricFamily(
        "sekimori_detect_sweep_failures_total", "counter", "Times that sweeping, and guarding what was signed, failed"
    ),
    MetricFamily(
        "sekimori_detect_rewritten_total", "counter", "Signed messages written again after others had hidden them"
    ),
    MetricFamily(
        "sekimori_detect_table_age_seconds", "gauge", "Seconds since the topic of operators was last heard", ("topic",)
    ),
    MetricFamily("sekimori_detect_settings_total", "counter", "Messages of the allowlist read", ("outcome",)),
)

STREAM: tuple[MetricFamily, ...] = (
    MetricFamily("sekimori_stream_records_total", "counter", "Messages worked on", ("topic",)),
    MetricFamily("sekimori_stream_lag_messages", "gauge", "Messages that wait in Kafka", ("topic", "partition")),
    MetricFamily("sekimori_stream_event_age_seconds", "gauge", "Age of the last message when worked on", ("topic",)),
    MetricFamily(
        "sekimori_stream_unsaved_messages", "gauge", "Messages worked on since the state was saved", ("partition",)
    ),
    MetricFamily("sekimori_stream_saved_bytes_total", "counter", "State written"),
    MetricFamily("sekimori_stream_refused_messages_total", "counter", "Messages that the broker refused as too large"),
    MetricFamily("sekimori_stream_topics_anew_total", "counter", "Partitions whose topic was made anew, or cut"),
    MetricFamily(
        "sekimori_stream_begun_anew_total", "counter", "Times that the job began anew: other topics, or nothing came"
    ),
    MetricFamily("sekimori_rules_loads_total", "counter", "Readings of a changed rules file", ("outcome",)),
)

_TOOK = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60)

STORE: tuple[MetricFamily, ...] = (
    MetricFamily("sekimori_store_rows_total", "counter", "Rows written by table", ("table",)),
    MetricFamily(
        "sekimori_store_repeated_events_total", "counter", "Events left out because the store has them already"
    ),
    MetricFamily("sekimori_store_write_seconds", "histogram", "Time to write a batch", (), _TOOK),
    MetricFamily("sekimori_store_failures_total", "counter", "Batches that could not be written and come again"),
    MetricFamily("sekimori_store_up", "gauge", "1 while the store takes what it is sent"),
    MetricFamily("sekimori_store_message_age_seconds", "gauge", "Age of the newest message of the last batch written"),
    MetricFamily(
        "sekimori_store_dropped_months_total", "counter", "Months dropped by retention, of each table", ("table",)
    ),
)

SHIP: tuple[MetricFamily, ...] = (
    MetricFamily("sekimori_ship_lines_total", "counter", "Lines that the broker has acknowledged"),
    MetricFamily("sekimori_ship_messages_total", "counter", "Messages that they went in"),
    MetricFamily("sekimori_ship_bytes_total", "counter", "Bytes of those lines"),
    MetricFamily("sekimori_ship_shortened_lines_total", "counter", "Lines that were too long and were shortened"),
    MetricFamily("sekimori_ship_lag_bytes", "gauge", "Bytes that wait in a file, as it was last looked at", ("file",)),
    MetricFamily("sekimori_ship_unreadable", "gauge", "1 while a file, or one rotated, cannot be read", ("file",)),
    MetricFamily(
        "sekimori_ship_state_age_seconds", "gauge", "Time since positions could be saved; 0: they are", ("file",)
    ),
    MetricFamily("sekimori_ship_lost_files_total", "counter", "Rotated files whose rest was not found", ("file",)),
    MetricFamily("sekimori_ship_broker_up", "gauge", "1 while the broker takes what is sent"),
)

SIGNED: tuple[MetricFamily, ...] = (
    MetricFamily(
        "sekimori_signature_refusals_total",
        "counter",
        "Decisions and settings not obeyed: not signed, or not by one who may",
        ("topic", "reason"),
    ),
)

METRICS: tuple[MetricFamily, ...] = (*SHIP, *ENFORCE, *NORMALIZE, *DETECT, *STREAM, *STORE, *SIGNED)


class MemoryRecorder:
    """Keeps the contract of ``Recorder`` in memory: for tests and notebooks. ``made``: every measurement, in order."""

    def __init__(self) -> None:
        self._families = {family.name: family for family in METRICS}
        self.made: list[tuple[str, tuple[str, ...], float]] = []

    def add(self, name: str, value: float = 1, *labels: str) -> None:
        """See ``Recorder``."""
        if value < 0:
            raise ValueError(f"{name} is a counter, which cannot fall by {-value}")
        self._note("counter", name, value, labels)

    def set(self, name: str, value: float, *labels: str) -> None:
        """See ``Recorder``."""
        self._note("gauge", name, value, labels)

    def observe(self, name: str, value: float, *labels: str) -> None:
        """See ``Recorder``."""
        self._note("histogram", name, value, labels)

    def values(self, name: str, *labels: str) -> list[float]:
        """What was told of a metric with these labels, in order."""
        return [value for told, under, value in self.made if (told, under) == (name, labels)]

    def _note(self, kind: Kind, name: str, value: float, labels: tuple[str, ...]) -> None:
        family = self._families[name]
        if family.kind != kind:
            raise KeyError(f"{name} is no {kind}")
        if len(labels) != len(family.labels):
            raise ValueError(f"{name} has the labels {family.labels}, not {labels}")
        self.made.append((name, labels, value))
