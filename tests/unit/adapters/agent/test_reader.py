"""What the agent makes of whatever lies on its topics."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.adapters.agent.reader import EnforcementReader
from pipeline.adapters.kafka.memory import MemoryLog, MemoryReader
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.enforce.table import DecisionTable
from pipeline.ports import Record
from schemas.codec import encode
from tests.support.decisions import NOW, decision
from tests.support.foreign import records

ANY = st.lists(st.sampled_from(["enforcement", "settings"]).flatmap(records), max_size=4)
TOPICS = ["enforcement", "settings"]


def reader_of(table: DecisionTable, recorder: PrometheusRecorder, log: MemoryLog) -> EnforcementReader:
    return EnforcementReader(table, lambda: NOW, recorder, lambda: MemoryReader(log, TOPICS))


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], deadline=None)
@given(ANY)
def test_whatever_comes_is_obeyed_or_told_and_hurts_no_other(foreign: list[Record]) -> None:
    recorder, staged = PrometheusRecorder(), DecisionTable()
    reader = reader_of(DecisionTable(), recorder, MemoryLog(dict.fromkeys(TOPICS, 1)))
    honest = decision("honest@example.org")
    record = Record("enforcement", 0, 9, 0, honest.key.encode(), encode(honest))
    reader.fill(staged, [*foreign, record])
    found = staged.lookup("send", NOW, account="honest@example.org")
    assert found is not None or staged.allow_entries
    counted = [
        recorder.registry.get_sample_value("sekimori_enforce_messages_total", {"topic": topic, "outcome": outcome}) or 0
        for topic in TOPICS
        for outcome in ("applied", "unchanged", "unreadable")
    ]
    assert sum(counted) == len(foreign) + 1
    staged.expire(NOW + 10**12)
