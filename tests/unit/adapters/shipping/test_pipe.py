"""Pipes and the journal: what comes once is kept until the broker has it."""

import json
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.adapters.shipping.feed import World
from pipeline.adapters.shipping.journal import JournalTail
from pipeline.adapters.shipping.pipe import MAX_HELD, PipeTail, Unkept
from pipeline.adapters.shipping.positions import Positions
from pipeline.adapters.shipping.shipper import Options, Shipper
from pipeline.metrics import MemoryRecorder
from tests.unit.adapters.shipping.test_tail import Disturbed


def world(broker: Disturbed, stops: bool = False) -> World:
    return World(broker.connect, broker, lambda _: stops, lambda: 0.0, lambda: 0, MemoryRecorder())


def arrived(broker: Disturbed) -> list[bytes]:
    records = [record for partitions in broker.partitions.values() for log in partitions for record in log]
    return [line for record in records for line in (record.value or b"").split(b"\n")]


@contextmanager
def piped(path: Path, *parts: bytes) -> Iterator[None]:
    """A writer that opens the pipe, writes and goes."""

    def write() -> None:
        with path.open("wb") as out:
            for part in parts:
                out.write(part)
                out.flush()

    writer = threading.Thread(target=write)
    writer.start()
    yield
    writer.join()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.sampled_from([0, 1, 100, 70_000, 300_000]), max_size=30),
    st.lists(st.sampled_from(["", "before", "after"]), max_size=5),
    st.booleans(),
)
def test_each_line_of_a_pipe_arrives_once_whatever_the_broker_does(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], faults: list[str], ended: bool
) -> None:
    path = tmp_path_factory.mktemp("pipe") / "pipe"
    os.mkfifo(path)
    lines = [b"%d " % number + b"x" * min(size, 200_000) for number, size in enumerate(sizes)]
    broker = Disturbed({"maillog": 2})
    left = list(faults)

    def wait(_: float) -> bool:
        broker.fault = left.pop() if left else ""
        return False

    around = World(broker.connect, broker, wait, lambda: 0.0, lambda: 0, MemoryRecorder())
    tail = PipeTail(path)
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    with piped(path, content[: len(content) // 3], content[len(content) // 3 :]):
        shipper = Shipper([(tail, Unkept())], Options("mx", "maillog", batch_lines=3), around)
        shipper.run()
        shipper.close()
    assert arrived(broker) == lines


def test_a_line_without_an_end_is_cut_and_memory_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    broker = Disturbed({"maillog": 1})
    tail = PipeTail(path)
    with piped(path, b"x" * (MAX_HELD + 100), b"\nlast\n"):
        Shipper([(tail, Unkept())], Options("mx", "maillog"), world(broker)).run()
    tail.close()
    first, rest, last = arrived(broker)
    assert first.endswith(b"[sekimori: the line had %d bytes]" % MAX_HELD)
    assert (rest, last) == (b"x" * 100, b"last")


JOURNALCTL = """#!/usr/bin/env python3
import json, sys
entries = open({entries!r}).read().split()
after = next((word.partition("=")[2] for word in sys.argv if word.startswith("--after-cursor=")), "")
start = int(after) + 1 if after else 0
last = "--lines=1" in sys.argv
for number, entry in list(enumerate(entries))[-1 if last else start:]:
    line = json.dumps({{"__CURSOR": str(number), "MESSAGE": entry}})
    if entry == "cut":
        sys.stdout.write(line[:10])
        sys.exit(1)
    print(line)
"""


class Journal:
    """A journalctl whose entries are the words of a file; at the word ``cut`` it dies in mid-line."""

    def __init__(self, folder: Path) -> None:
        self.entries, self.command = folder / "entries", folder / "journalctl"
        self.command.write_text(JOURNALCTL.format(entries=str(self.entries)))
        self.command.chmod(0o755)
        self.folder, self.broker, self.clock = folder, Disturbed({"maillog": 2, "authlog": 2}), 0.0

    def ship(self, follow: bool = False, until: int = 0, **options: bool) -> None:
        def wait(_: float) -> bool:
            self.clock += 1
            return follow and len(arrived(self.broker)) >= until

        around = World(self.broker.connect, self.broker, wait, lambda: self.clock, lambda: 0, MemoryRecorder())
        with Positions(self.folder / "state", Path("/var/log/journal")) as positions:
            known = positions.load()
            tail = JournalTail([str(self.command)], known.files[0] if known else None, follow, **options)
            try:
                Shipper([(tail, positions)], Options("mx", follow=follow), around).run()
            finally:
                tail.close()

    def messages(self) -> list[str]:
        return [json.loads(line)["MESSAGE"] for line in arrived(self.broker)]


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(tmp_path)


def test_a_journal_is_gone_on_with_after_its_cursor(journal: Journal) -> None:
    journal.entries.write_text("a b c")
    journal.ship()
    journal.entries.write_text("a b c d e")
    journal.broker.fault = "after"
    journal.ship()
    journal.ship()
    assert journal.messages() == ["a", "b", "c", "d", "e"]
    state = next((journal.folder / "state").glob("*.json"))
    assert json.loads(state.read_bytes())["files"][0]["cursor"] == "4"
    assert stat.S_IMODE(state.stat().st_mode) == 0o600


def test_from_the_end_only_new_entries_count(journal: Journal) -> None:
    journal.entries.write_text("a b")
    journal.ship(from_end=True)
    journal.entries.write_text("a b c")
    journal.ship(from_end=True)
    assert journal.messages() == ["c"]


def test_a_journalctl_that_ends_is_started_again(journal: Journal) -> None:
    journal.entries.write_text("a b cut")
    with pytest.raises(OSError, match="journalctl ended with status 1"):
        journal.ship()
    journal.entries.write_text("a b c")
    journal.ship(follow=True, until=3)
    journal.entries.write_text("a b c d")
    journal.ship(follow=True, until=4)
    assert journal.messages() == ["a", "b", "c", "d"]


def test_a_host_without_journalctl_is_told(journal: Journal) -> None:
    journal.command.unlink()
    with pytest.raises(OSError, match="there is no journalctl on this host"):
        journal.ship()
