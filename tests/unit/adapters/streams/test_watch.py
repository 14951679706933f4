"""What changes while a detector runs: the rules file, and the allowlist that operators write."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from pipeline.adapters.kafka.memory import MemoryLog, MemoryReader
from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.adapters.streams.watch import (
    AGAIN,
    MISSED_AGAIN,
    AllowlistWatch,
    MissedWatch,
    ReleaseWatch,
    RulesWatch,
    SenderWatch,
)
from pipeline.formats.reading.around.missed import MissedLines
from pipeline.ports import BrokerUnavailable
from pipeline.rules.config import RulesError
from schemas.codec import encode
from schemas.enforcement import OVER
from schemas.setting import Setting
from schemas.tally import Tally
from tests.support.decisions import NOW, allow, decision
from tests.unit.rules.test_config import SEND, rules_file


def test_changed_rules_are_taken_and_wrong_ones_leave_the_old_in_force(tmp_path: Path) -> None:
    path, counted = rules_file(tmp_path, SEND + "for = '2h'"), PrometheusRecorder()
    watch = RulesWatch(path, "JP", counted)
    assert watch.poll() is None

    def write(text: str, second: int) -> None:
        path.write_text(text, encoding="utf-8")
        os.utime(path, (second, second))

    def duration() -> str:
        return watch.rules.file.rules["account_send_rate"].for_

    write(SEND + "for = '3h'", 1)
    new = watch.poll()
    assert new is watch.rules
    assert duration() == "3h"
    write(SEND + "for = 'never'", 2)
    assert watch.poll() is None
    assert watch.poll() is None  # says so once
    assert duration() == "3h"
    path.unlink()
    assert watch.poll() is None
    assert duration() == "3h"
    write(SEND + "for = '4h'", 3)
    assert watch.poll() is watch.rules
    assert duration() == "4h"
    for outcome in ("loaded", "refused"):
        assert counted.registry.get_sample_value("sekimori_rules_loads_total", {"outcome": outcome}) == 2


def test_a_watch_does_not_begin_with_wrong_rules(tmp_path: Path) -> None:
    with pytest.raises(RulesError):
        RulesWatch(rules_file(tmp_path, "x = 1"), "JP", PrometheusRecorder())
    assert RulesWatch(None, "JP", PrometheusRecorder()).poll() is None


def test_a_watch_without_a_brake_takes_none_from_the_file(tmp_path: Path) -> None:
    path = rules_file(tmp_path, "[brake]\nhourly = 5\n" + SEND + "for = '2h'")
    assert RulesWatch(path, "JP", PrometheusRecorder()).rules.file.brake.hourly == 5
    watch = RulesWatch(path, "JP", PrometheusRecorder(), brake=False)
    assert watch.rules.file.brake.hourly == 0
    path.write_text("[brake]\nhourly = 7\n", encoding="utf-8")
    os.utime(path, (1, 1))
    new = watch.poll()
    assert new is not None
    assert new.file.brake.hourly == 0


# --- the allowlist ---------------------------------------------------------------------------------------------------

Eventually = Callable[..., None]
ALICE, BOB = (Tally("account", f"{name}@example.org", "", "", NOW) for name in ("alice", "bob"))


def write(log: MemoryLog, *messages: Setting | str | tuple[str, bytes]) -> None:
    """Entries, keys to lift, and what is neither."""
    for message in messages:
        if isinstance(message, Setting):
            log.send("settings", message.key.encode(), encode(message))
        elif isinstance(message, str):
            log.send("settings", message.encode(), None)
        else:
            log.send("settings", message[0].encode(), message[1])
    log.flush()


class Broker:
    """A broker in memory that can be lost, and come back with less than it had."""

    def __init__(self) -> None:
        self.log = MemoryLog({"settings": 1})

    def open(self) -> MemoryReader:
        return MemoryReader(self.log, ["settings"])


@contextmanager
def watching(broker: Broker) -> Iterator[tuple[AllowlistWatch, Callable[[str], float]]]:
    recorder = PrometheusRecorder()
    watch = AllowlistWatch(broker.open, recorder)
    watch.start()
    try:
        yield watch, lambda o: recorder.registry.get_sample_value("sekimori_detect_settings_total", {"outcome": o}) or 0
    finally:
        watch.stop()


def test_an_entry_written_with_capitals_and_lifted_by_its_key_is_gone(eventually: Eventually) -> None:
    broker, entry = Broker(), allow("Alice@Example.org")
    write(broker.log, entry)
    with watching(broker) as (watch, _):
        eventually(lambda: watch.granted.covers(ALICE))
        write(broker.log, allow("bob@example.org"), entry.key)
        eventually(lambda: watch.granted.covers(BOB))
        assert not watch.granted.covers(ALICE)


def test_what_was_lifted_while_the_broker_was_lost_is_gone_though_its_tombstone_is_too(eventually: Eventually) -> None:
    broker = Broker()
    write(broker.log, allow("alice@example.org"))
    with watching(broker) as (watch, _):
        eventually(lambda: watch.granted.covers(ALICE))
        lost, broker.log = broker.log, MemoryLog({"settings": 1})
        write(broker.log, allow("bob@example.org"))
        lost.answers = False
        eventually(lambda: watch.granted.covers(BOB))
        assert not watch.granted.covers(ALICE)


def test_what_is_known_stays_while_the_topic_says_nothing(eventually: Eventually) -> None:
    broker = Broker()
    write(broker.log, allow("alice@example.org"))
    with capture_logs() as logs, watching(broker) as (watch, _):
        eventually(lambda: watch.granted.covers(ALICE))
        lost, broker.log = broker.log, MemoryLog({"settings": 1})
        lost.answers = False
        again = {"event": "allowlist_read", "log_level": "info", "entries": 1, "written": []}
        eventually(lambda: again in logs)
        assert watch.granted.covers(ALICE)


def test_messages_that_cannot_be_obeyed_are_told_and_counted_and_hurt_no_other(eventually: Eventually) -> None:
    broker, wrong = Broker(), allow("no address", "ip")
    bad = (("allow:ip:198.51.100.7", b"{"), (wrong.key, encode(wrong)), "deny", ("allow:account:x", encode(wrong)))
    write(broker.log, *bad)
    with capture_logs() as logs, watching(broker) as (watch, counted):
        write(broker.log, *bad, allow("alice@example.org"))
        eventually(lambda: watch.granted.covers(ALICE))
        assert (counted("unreadable"), counted("applied")) == (8, 1)
    assert [log["event"] for log in logs].count("message_unreadable") == 8


def test_a_reader_that_breaks_is_told_and_reads_again(eventually: Eventually) -> None:
    broker, broken = Broker(), [ZeroDivisionError(), KeyError("settings"), OSError(24, "Too many open files")]
    write(broker.log, allow("alice@example.org"))

    def reading() -> MemoryReader:
        if broken:
            raise broken.pop()
        return broker.open()

    with capture_logs() as logs:
        watch = AllowlistWatch(reading, PrometheusRecorder())
        watch.start()
        eventually(lambda: watch.granted.covers(ALICE))
        watch.stop()
    told = [log["error"] for log in logs if log["event"] == "topics_unavailable"]
    assert [word.split("(")[0] for word in told] == ["OSError", "KeyError", "ZeroDivisionError"]


def test_how_old_the_table_is_is_told_also_before_it_was_ever_read(eventually: Eventually) -> None:
    recorder, broken = PrometheusRecorder(), [True]

    def reading() -> MemoryReader:
        if broken:
            raise BrokerUnavailable("away")
        return Broker().open()

    def age() -> float:
        watch.poll()
        told = recorder.registry.get_sample_value("sekimori_detect_table_age_seconds", {"topic": "settings"})
        assert told is not None
        return told

    watch = AllowlistWatch(reading, recorder)
    watch.start()
    eventually(lambda: age() > 0.2)
    broken.clear()
    eventually(lambda: age() < 0.1)
    watch.stop()


# --- what operators lift ---------------------------------------------------------------------------------------------


def test_releases_are_heard_and_who_lifted_what_is_told(eventually: Eventually) -> None:
    log = MemoryLog({"enforcement": 2})
    found = decision("alice@example.org"), decision("203.0.113.0/24", "prefix", rule="ip_accused")
    over, manual = decision("old@example.org"), decision("bob@example.org", rule="manual")
    told = [("actor", b"operator:hana"), ("note", b"ticket 4711"), ("at", b"2026-11-24T01:10:00+00:00")]
    held = [("issued_at", found[1].issued_at.isoformat().encode()), ("expires_at", b"?")]

    def lift(key: str, *headers: tuple[str, bytes]) -> None:
        log.send("enforcement", key.encode(), None, list(headers))
        log.flush()

    lift(found[0].key, *told)
    watch = ReleaseWatch(lambda: MemoryReader(log, ["enforcement"]), PrometheusRecorder())
    with capture_logs() as logs:
        watch.start()
        try:
            eventually(lambda: [r.subject for r in watch.releases] == ["alice@example.org"])
            before = watch.releases
            lift(over.key, (OVER, b"2026"))
            lift(manual.key, *told)
            lift("nonsense", *told)
            log.send("enforcement", b"account:account_send_rate:carol@example.org", encode(found[0]))
            lift(found[1].key, *told, *held)
            eventually(lambda: len(watch.releases) == 2)
            assert watch.releases is not before
            last = watch.releases[-1]
            assert last[:3] == ("ip_accused", "ip", "203.0.113.0/24")
            assert (last.since, last.until) == (found[1].issued_at.timestamp(), None)
        finally:
            watch.stop()
    (line,) = [one for one in logs if one["event"] == "decision_released"]
    assert (line["key"], line["actor"], line["note"]) == (found[1].key, "operator:hana", "ticket 4711")


def test_messages_without_a_key_are_told_now_and_then() -> None:
    counted, now = PrometheusRecorder(), [1000.0]
    name = "sekimori_normalize_unkeyed_total"
    watch = SenderWatch(counted.total, lambda: now[0])
    with capture_logs() as logs:
        watch.poll()
        assert not logs
        for _ in range(int(2 * AGAIN)):
            now[0] += 1
            counted.add(name, 1, "maillog")
            counted.add(name, 2, "authlog")
            watch.poll()
        now[0] += 2 * AGAIN
        watch.poll()
        watch.poll()
    assert [(log["event"], log["lines"]) for log in logs] == [
        ("messages_without_key", lines) for lines in (3, 3 * AGAIN, 3 * (AGAIN - 1))
    ]
    assert "docs/shippers.md" in logs[0]["next"]


@pytest.mark.parametrize(
    ("name", "event", "unit"),
    [
        ("sekimori_normalize_doubled_lines_total", "lines_twice", "lines"),
        ("sekimori_normalize_unknown_zones_total", "unknown_zone", "messages"),
    ],
)
def test_what_else_senders_can_mend_is_told(name: str, event: str, unit: str) -> None:
    counted, now = PrometheusRecorder(), [1000.0]
    watch = SenderWatch(counted.total, lambda: now[0])
    with capture_logs() as logs:
        for _ in range(3):
            counted.add(name, 2)
            watch.poll()
        now[0] += AGAIN
        watch.poll()
    assert [(log["event"], log[unit]) for log in logs] == [(event, 2), (event, 4)]


def test_lines_that_were_not_understood_are_told_once_an_hour_by_host_and_form() -> None:
    missed, now = MissedLines(), [0.0]
    watch = MissedWatch(missed, lambda: now[0])
    with capture_logs() as logs:
        watch.poll()
        assert not logs
        for second in range(int(2 * MISSED_AGAIN)):
            now[0] = second
            missed.add("mx", "stamp", 1, f"24.11. {second} postfix/smtpd[1]: \x1b[31m")
            if second in (5, 9):
                missed.add("mx", "json", 2, "{}")
            watch.poll()
    told = [(log["host"], log["form"], log["lines"], log["first"]) for log in logs]
    first = r"24.11. 0 postfix/smtpd[1]: \x1b[31m"
    assert told == [
        ("mx", "stamp", 1, first),
        ("mx", "json", 2, "{}"),
        ("mx", "stamp", MISSED_AGAIN, first),
        ("mx", "json", 2, "{}"),
    ]
    assert all("docs/log-forms.md" in log["next"] and log["event"] == "mail_log_not_understood" for log in logs)
