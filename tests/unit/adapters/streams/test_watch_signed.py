"""With keys configured, what operators allow and lift is theirs alone."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import pytest

from pipeline.adapters.kafka.memory import MemoryLog, MemoryReader
from pipeline.adapters.streams.watch import AllowlistWatch, ReleaseWatch
from pipeline.metrics import MemoryRecorder
from pipeline.ports import Record
from schemas.codec import encode
from schemas.enforcement import HELD
from schemas.tally import Tally
from tests.support.decisions import AT, NOW, allow, decision
from tests.support.keys import Keyring

ALICE, BOB = (Tally("account", f"{name}@example.org", "", "", NOW) for name in ("alice", "bob"))
ENTRY = allow("alice@example.org")
MADE = decision("alice@example.org")


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Keyring:
    return Keyring(tmp_path_factory.mktemp("keys") / "ring")


def send(log: MemoryLog, *records: Record) -> None:
    for record in records:
        log.send(record.topic, record.key, record.value, record.headers, timestamp_ms=record.timestamp_ms)
    log.flush()


def times(*told: datetime | None) -> list[tuple[str, bytes]]:
    return [(name, at.isoformat().encode()) for name, at in zip(HELD, told, strict=False) if at is not None]


def test_nobody_else_allows_or_forbids_also_when_the_topic_is_read_again(
    ring: Keyring, eventually: Callable[..., None]
) -> None:
    logs = [MemoryLog({"settings": 1})]
    bob = allow("bob@example.org")
    watch = AllowlistWatch(lambda: MemoryReader(logs[-1], ["settings"]), recorder := MemoryRecorder(), ring.keys())

    def refused() -> int:
        return len(recorder.values("sekimori_detect_settings_total", "refused"))

    send(logs[0], ring.record("operator-1", "settings", ENTRY.key, encode(ENTRY)))
    watch.start()
    try:
        eventually(lambda: watch.granted.covers(ALICE))
        for signer in ("", "stranger", "detect-1"):
            send(logs[0], ring.record(signer, "settings", bob.key, encode(bob)))
            send(logs[0], ring.record(signer, "settings", ENTRY.key, None, times(AT)))
        eventually(lambda: refused() == 6)
        compacted = MemoryLog({"settings": 1})
        send(compacted, *[ring.record("", "settings", key, None) for key in (ENTRY.key, bob.key)])
        logs.append(compacted)
        logs[0].answers = False
        eventually(lambda: refused() == 8)
        assert watch.granted.covers(ALICE)
        assert not watch.granted.covers(BOB)
        send(compacted, ring.record("operator-1", "settings", ENTRY.key, None, times(AT - timedelta(days=1))))
        send(compacted, ring.record("operator-1", "settings", bob.key, encode(bob)))
        eventually(lambda: watch.granted.covers(BOB))
        assert watch.granted.covers(ALICE)  # it lifted what was there before
        send(compacted, ring.record("operator-1", "settings", ENTRY.key, None, times(AT)))
        eventually(lambda: not watch.granted.covers(ALICE))
    finally:
        watch.stop()


def test_a_release_is_of_the_time_when_it_was_signed(ring: Keyring, eventually: Callable[..., None]) -> None:
    log = MemoryLog({"enforcement": 1})
    watch = ReleaseWatch(lambda: MemoryReader(log, ["enforcement"]), MemoryRecorder(), ring.keys())
    headers = [("at", AT.isoformat().encode()), *times(MADE.issued_at, MADE.expires_at)]

    def lifts(signer: str, key: str, written: float) -> Sequence[Record]:
        return [ring.record(signer, "enforcement", key, None, headers, written)]

    watch.start()
    try:
        for signer in ("", "stranger", "detect-1"):
            send(log, *lifts(signer, decision("bob@example.org").key, NOW))
        send(log, *lifts("operator-1", MADE.key, NOW + 0.5))
        eventually(lambda: watch.releases)
        assert [(r.subject, r.at) for r in watch.releases] == [("alice@example.org", NOW + 0.5)]
        send(log, *lifts("operator-1", MADE.key, NOW + 9000))  # written again by somebody
        eventually(lambda: [r.at for r in watch.releases] == [NOW + 1])
    finally:
        watch.stop()
