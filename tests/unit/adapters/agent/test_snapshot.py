import random
import resource
import stat
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.agent.snapshot import SnapshotError, candidates, read_snapshot, write_snapshot
from pipeline.enforce.table import DecisionTable
from pipeline.enforce.terms import Restriction
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
    known = {f"{r.terms}{r.subject}{r.text}{r.why}{r.issued_at}{r.expires_at}" for r in made.decisions() if r.live}
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
    assert {r.subject for r in back.decisions()} == {"alice@example.org", "2001:db8::/64"}


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


def test_a_snapshot_of_the_first_version_is_read() -> None:
    """As it was written on 2026-11-24, by the program before restrictions had this name."""
    made, written_at = read_snapshot(Path(__file__).with_name("version-1.snapshot"), NOW)
    assert (made.count, made.allow_entries, written_at) == ({"enforce": 5, "shadow": 1}, 2, NOW)

    def told(**client: Any) -> list[str]:
        holding = made.lookup("login" if "protocol" in client else "send", NOW, **client)
        return [f"{r.terms.action} {r.text}" for r in holding.restrictions] if holding else []

    sent = "sent 100 messages within 10 minutes (60 are allowed)"
    assert told(account="alice@example.org") == [f"reject alice@example.org {sent} [93933a27]"]
    assert told(account="alice@example.org", protocol="imap") == [f"deny_login alice@example.org {sent} [a4a7fb1f]"]
    assert told(account="alice@example.org", protocol="imap", address="192.0.2.1") == []
    assert told(address="2001:db8::7") == [f"reject ?????{'x' * 145} [fcfb9e4c]"]
    assert [r.split()[0] for r in told(account="bob@example.org", address="198.51.100.7")] == ["limit", "route"]
    assert told(account="carol@example.org", address="198.51.100.7") == []
    assert told(address="198.51.100.7", protocol="imap", country_of=lambda a: "RU")[0].startswith("delay_login RU")
    assert told(address="203.0.113.7", protocol="imap", country_of=lambda a: "RU") == []


def test_a_snapshot_from_before_operators_were_told_is_read() -> None:
    back, written_at = read_snapshot(Path(__file__).with_name("version-2.snapshot"), NOW)
    made = {r.subject: (r.terms.actor, *r.why) for r in back.decisions()}
    assert (written_at, back.allow_entries, sorted(made)) == (NOW, 1, ["2001:db8::/64", "alice@example.org"])
    whole = decision("alice@example.org")
    assert made[whole.subject] == ("", whole.reason, whole.id[:8])
    assert made["2001:db8::/64"][1] == "????"  # as far as it was kept


def test_a_snapshot_of_a_newer_version_says_so_and_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    save(full(), path)
    path.write_bytes(path.read_bytes().replace(b'"version":2', b'"version":3'))
    with pytest.raises(SnapshotError, match="version 3, and this program knows them up to 2: start the newer program"):
        read_snapshot(path, NOW)


def test_a_disk_that_is_full_is_not_kept_so(tmp_path: Path) -> None:
    path = tmp_path / "snapshot"
    save(full(), path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    many = table(*(decision(f"user{n}@example.org") for n in range(2000)))
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(many, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.iterdir()] == ["snapshot"]
    assert len(read_snapshot(path, NOW)[0]) == 4


@given(st.integers(0, 2**32))
def test_a_snapshot_taken_while_the_table_changes_has_all_that_held_throughout(seed: int) -> None:
    chance = random.Random(seed)
    made = table(*(decision(f"user{n}@example.org", seconds=chance.randint(1, 50)) for n in range(60)))
    taken: list[Restriction] = []
    for part in made.parts(size=7):
        taken += part
        for _ in range(3):
            n = chance.randrange(60)
            renewed = decision(
                f"user{n}@example.org", issued_at=AT + timedelta(seconds=60), seconds=chance.randint(1, 50)
            )
            made.apply(renewed.key, renewed)
    assert {r.subject for r in taken} == {f"user{n}@example.org" for n in range(60)}


@given(st.integers(0, 2**32))
def test_several_may_go_through_the_table_and_stop_while_it_changes(seed: int) -> None:
    chance = random.Random(seed)
    made = table(*(decision(f"user{n}@example.org") for n in range(40)))
    going = {number: made.parts(size=3) for number in range(4)}
    taken: dict[int, list[Restriction]] = {number: [] for number in going}
    stopped = chance.randrange(4)
    for n in range(40, 400):
        number = chance.choice(list(going))
        part = next(going[number], None)
        if part is None or (number == stopped and n > 60):
            going.pop(number).close()
            if not going:
                break
            continue
        taken[number] += part
        renewed = decision(f"user{chance.randrange(40)}@example.org", issued_at=AT + timedelta(seconds=n))
        made.apply(renewed.key, renewed)
    for number, rest in going.items():
        taken[number] += [r for part in rest for r in part]
    del taken[stopped]
    for found in taken.values():
        assert {r.subject for r in found} == {f"user{n}@example.org" for n in range(40)}
