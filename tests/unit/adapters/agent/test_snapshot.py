import stat
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.adapters.agent.snapshot import SnapshotError, candidates, read_snapshot, write_snapshot
from pipeline.enforce.table import DecisionTable
from tests.support.decisions import AT, NOW, allow, decision, table


def full() -> DecisionTable:
    return table(
        decision("alice@example.org"),
        decision(
            "alice@example.org", rule="guessing", action="deny_login", parameters={"except_sources": ["192.0.2.1"]}
        ),
        decision("2001:db8::/64", "ip", mode="shadow", reason="踏み台\n"),
        decision("bob@example.org", seconds=60),
        allow("198.51.0.0/16", "prefix"),
        allow("carol@example.org", expires_at=AT + timedelta(days=1)),
    )


def save(made: DecisionTable, path: Path) -> None:
    write_snapshot(path, made.decisions(), made.allowlist(), NOW)


def shown(made: DecisionTable) -> set[str]:
    known = {f"{h.terms}{h.subject}{h.text}{h.issued_at}{h.expires_at}" for h in made.decisions() if h.live}
    return known | {str(entry) for entry in made.allowlist()}


def test_a_table_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    made = full()
    save(made, path)
    back, written_at = read_snapshot(path, NOW)
    assert (shown(back), back.count, back.allow_entries, written_at) == (shown(made), made.count, 2, NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["snapshot"]


def test_what_is_over_or_was_lifted_does_not_come_back(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    made = full()
    made.apply("account:account_send_rate:alice@example.org", None)
    save(made, path)
    back, _ = read_snapshot(path, NOW + 60)
    assert {h.subject for h in back.decisions()} == {"alice@example.org", "2001:db8::/64"}


def test_an_empty_table_is_a_snapshot_too(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    save(DecisionTable(), path)
    assert len(read_snapshot(path, NOW)[0]) == 0


def test_a_snapshot_cut_anywhere_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    save(full(), path)
    whole = path.read_bytes()
    for length in range(len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(SnapshotError, match="cut or damaged"):
            read_snapshot(path, NOW)


def test_a_changed_byte_never_changes_the_table(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    made = full()
    save(made, path)
    whole = path.read_bytes()
    refused = 0
    for place in range(len(whole) - 1):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x21]) + whole[place + 1 :])
        try:
            back, _ = read_snapshot(path, NOW)
        except SnapshotError:
            refused += 1
        else:
            assert shown(back) == shown(made)
    assert refused > len(whole) - 20


def test_the_one_before_is_kept(tmp_path: Path) -> None:
    path, before = candidates(tmp_path / "snapshot")
    save(table(decision("alice@example.org")), path)
    save(table(), path)
    assert [len(read_snapshot(p, NOW)[0]) for p in (path, before)] == [0, 1]


def test_a_writer_that_was_killed_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    (tmp_path / "snapshot.tmp").write_bytes(b"half")
    save(full(), path)
    assert len(read_snapshot(path, NOW)[0]) == 4
