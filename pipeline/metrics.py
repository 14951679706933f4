"""Every metric, once: name, kind, labels, meaning. Jobs record by name; a name that is not listed is an error.

Names follow Prometheus: base units (seconds, bytes), counters end in ``_total``.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True)
class Metric:
    """One metric. ``buckets`` are the upper bounds of a histogram, in the metric's unit."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


class Recorder(Protocol):
    """Where measurements go. Labels are given by position, in the order of the metric's declaration."""

    def add(self, name: str, value: float = 1, *labels: str) -> None:
        """Counter: adds ``value`` >= 0. Raises KeyError for a name that is not in METRICS."""

    def set(self, name: str, value: float, *labels: str) -> None:
        """Gauge: now has this value. Raises KeyError for a name that is not in METRICS."""

    def observe(self, name: str, value: float, *labels: str) -> None:
        """Histogram: one more observation. Raises KeyError for a name that is not in METRICS."""


_AGE = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60, 600, 3600)

ENFORCE: tuple[Metric, ...] = (
    Metric("sekimori_enforce_requests_total", "counter", "Requests by hook and answer", ("hook", "answer")),
    Metric("sekimori_enforce_refused_requests_total", "counter", "Requests closed without an answer", ("hook", "why")),
    Metric("sekimori_enforce_connections", "gauge", "Open connections over which mail servers ask line by line"),
    Metric("sekimori_enforce_reports_total", "counter", "Logins that Dovecot reported", ("success", "policy_reject")),
    Metric("sekimori_enforce_decisions", "gauge", "Decisions in the table", ("mode",)),
    Metric("sekimori_enforce_allow_entries", "gauge", "Allowlist entries in the table"),
    Metric("sekimori_enforce_expired_total", "counter", "Decisions dropped because their time was over"),
    Metric("sekimori_enforce_messages_total", "counter", "Messages read from Kafka", ("topic", "outcome")),
    Metric("sekimori_enforce_decision_age_seconds", "histogram", "Event time to table, live decisions", (), _AGE),
    Metric("sekimori_enforce_table_age_seconds", "gauge", "Seconds since Kafka was last heard; NaN: never"),
    Metric("sekimori_enforce_ready", "gauge", "1 once the topics were read to their end"),
    Metric("sekimori_enforce_lag_messages", "gauge", "Messages in Kafka that the table does not show yet"),
    Metric("sekimori_enforce_reads_total", "counter", "Full readings of the topics", ("outcome",)),
    Metric("sekimori_enforce_snapshot_age_seconds", "gauge", "Seconds since the last snapshot; NaN: none"),
    Metric("sekimori_enforce_snapshots_total", "counter", "Snapshots by what became of them", ("outcome",)),
)

NORMALIZE: tuple[Metric, ...] = (
    Metric("sekimori_normalize_lines_total", "counter", "Lines by topic and what became of them", ("topic", "outcome")),
    Metric("sekimori_normalize_forgotten_total", "counter", "Queue ids and sessions forgotten to stay in bounds"),
)

DETECT: tuple[Metric, ...] = (
    Metric("sekimori_detect_tallies_total", "counter", "Tallies counted"),
    Metric("sekimori_detect_decisions_total", "counter", "Decisions by rule and mode", ("rule", "mode")),
    Metric("sekimori_detect_allowed_total", "counter", "Findings against allowlisted subjects, let pass"),
    Metric("sekimori_detect_repeated_frames_total", "counter", "Frames left out because they were counted before"),
    Metric("sekimori_detect_evicted_total", "counter", "Subjects forgotten to stay in bounds"),
    Metric("sekimori_detect_subjects", "gauge", "Subjects remembered", ("partition",)),
    Metric("sekimori_detect_dead_letters_total", "counter", "Messages that could not be read"),
    Metric("sekimori_detect_settings_total", "counter", "Messages of the allowlist read", ("outcome",)),
)

STREAM: tuple[Metric, ...] = (
    Metric("sekimori_stream_records_total", "counter", "Messages worked on", ("topic",)),
    Metric("sekimori_stream_lag_messages", "gauge", "Messages that wait in Kafka", ("topic", "partition")),
    Metric("sekimori_stream_event_age_seconds", "gauge", "Age of the last message when worked on", ("topic",)),
    Metric("sekimori_stream_unsaved_messages", "gauge", "Messages worked on since the state was saved", ("partition",)),
    Metric("sekimori_stream_saved_bytes_total", "counter", "State written"),
    Metric("sekimori_rules_loads_total", "counter", "Readings of a changed rules file", ("outcome",)),
)

_TOOK = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60)

STORE: tuple[Metric, ...] = (
    Metric("sekimori_store_rows_total", "counter", "Rows written by table", ("table",)),
    Metric("sekimori_store_repeated_events_total", "counter", "Events left out because the store has them already"),
    Metric("sekimori_store_write_seconds", "histogram", "Time to write a batch", (), _TOOK),
    Metric("sekimori_store_failures_total", "counter", "Batches that could not be written and come again"),
    Metric("sekimori_store_up", "gauge", "1 while the store takes what it is sent"),
    Metric("sekimori_store_message_age_seconds", "gauge", "Age of the newest message of the last batch written"),
    Metric("sekimori_store_dropped_months_total", "counter", "Months dropped by retention, of each table", ("table",)),
)

METRICS: tuple[Metric, ...] = (*ENFORCE, *NORMALIZE, *DETECT, *STREAM, *STORE)
