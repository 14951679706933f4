"""Following log files: every line once, whatever is done to the file and to the reader."""

import gzip
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.adapters.kafka.memory import MemoryLog
from pipeline.adapters.shipping.feed import World
from pipeline.adapters.shipping.frames import MAX_LINE
from pipeline.adapters.shipping.positions import Positions
from pipeline.adapters.shipping.shipper import Options, Shipper
from pipeline.adapters.shipping.source import CHUNK
from pipeline.adapters.shipping.tail import GRACE_SECONDS, Tail
from pipeline.metrics import MemoryRecorder
from pipeline.ports import BrokerUnavailable, Outbox


def lines_of(tail: Tail, now: float = 0.0, final: bool = False) -> list[bytes]:
    found: list[bytes] = []
    while piece := tail.poll(now, final):
        found += piece.lines
        for source in tail.sources:
            source.acknowledged = source.offset
    return found


@contextmanager
def tailing(path: Path, **options: bool) -> Iterator[Tail]:
    tail = Tail(path, **options)
    yield tail
    tail.close()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "mail.log"


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as out:
        out.write(content)


def test_a_last_line_waits_for_its_line_feed(log: Path) -> None:
    append(log, b"one\ntw")
    with tailing(log) as tail:
        assert lines_of(tail) == [b"one"]
        append(log, b"o\n\nthree")
        assert lines_of(tail) == [b"two", b""]
        assert lines_of(tail, final=True) == [b"three"]
        assert lines_of(tail, final=True) == []


def test_a_file_may_come_later(log: Path) -> None:
    with tailing(log) as tail:
        assert lines_of(tail) == []
        append(log, b"one\n")
        assert lines_of(tail) == [b"one"]


def test_from_the_end_only_new_lines_count(log: Path) -> None:
    append(log, b"one\ntwo\nthr")
    with tailing(log, from_end=True) as tail:
        assert lines_of(tail) == []
        append(log, b"ee\n")
        assert lines_of(tail) == [b"three"]


def test_a_renamed_file_is_read_to_its_end_and_on_for_a_while(log: Path) -> None:
    append(log, b"one\n")
    with tailing(log) as tail:
        assert lines_of(tail) == [b"one"]
        append(log, b"two\n")
        old = log.rename(log.with_name("mail.log.1"))
        append(log, b"three\n")
        assert lines_of(tail) == [b"two", b"three"]
        append(old, b"late\nunfinished")
        assert lines_of(tail, now=1) == [b"late"]
        assert lines_of(tail, now=GRACE_SECONDS) == []
        assert lines_of(tail, now=GRACE_SECONDS + 1) == [b"unfinished"]
        lines_of(tail, now=GRACE_SECONDS + 2)
        lines_of(tail, now=2 * GRACE_SECONDS + 3)
        assert [source.path for source in tail.sources] == [log]


def test_a_copied_and_cut_file_is_finished_from_its_copy(log: Path) -> None:
    append(log, b"one\n")
    with tailing(log) as tail:
        assert lines_of(tail) == [b"one"]
        append(log, b"two\n")
        shutil.copy(log, log.with_name("mail.log.1"))
        os.truncate(log, 0)
        append(log, b"3, and by now the file is longer than before\n")
        assert lines_of(tail) == [b"two", b"3, and by now the file is longer than before"]


def test_a_file_may_be_removed_and_made_anew(log: Path) -> None:
    append(log, b"one\n")
    with tailing(log) as tail:
        assert lines_of(tail) == [b"one"]
        append(log, b"two\n")
        log.unlink()
        assert lines_of(tail) == [b"two"]
        append(log, b"three\n")
        assert lines_of(tail) == [b"three"]


def test_rotations_while_nobody_read_are_caught_up_in_order(log: Path) -> None:
    append(log, b"one\ntwo\n")
    with tailing(log) as tail:
        assert lines_of(tail) == [b"one", b"two"]
        places = [source.place() for source in tail.sources]
    append(log, b"three\n")
    os.utime(log, ns=(1, 1_000))
    log.rename(log.with_name("mail.log.2"))
    append(log, b"four\n")
    os.utime(log, ns=(1, 2_000))
    log.rename(log.with_name("mail.log.1"))
    append(log.with_name("mail.log.3"), b"long ago\n")
    os.utime(log.with_name("mail.log.3"), ns=(1, 500))
    append(log, b"five\n")
    resumed = Tail(log, places)
    assert lines_of(resumed) == [b"three", b"four", b"five"]
    resumed.close()


def test_a_rotated_file_that_was_packed_meanwhile_is_found_by_its_content(log: Path) -> None:
    append(log, b"one\n")
    with tailing(log) as tail:
        assert lines_of(tail) == [b"one"]
        places = [source.place() for source in tail.sources]
    log.with_name("mail.log.2.gz").write_bytes(b"\x1f\x8b\x08damaged")
    log.with_name("mail.log.1.gz").write_bytes(gzip.compress(b"one\ntwo\n"))
    log.write_bytes(b"three\n")
    resumed = Tail(log, places)
    assert lines_of(resumed) == [b"two", b"three"]
    resumed.close()


def test_an_inode_that_is_used_again_is_another_file(log: Path) -> None:
    append(log, b"one\n")
    with tailing(log) as tail:
        assert lines_of(tail) == [b"one"]
        places = [source.place() for source in tail.sources]
    os.truncate(log, 0)
    append(log, b"a longer line\n")
    resumed = Tail(log, places)
    assert lines_of(resumed) == [b"a longer line"]
    resumed.close()


def test_packed_files_are_read_through(log: Path) -> None:
    content = b"".join(b"line %d\n" % n for n in range(300_000))
    log.write_bytes(gzip.compress(content + b"last", 1))
    with tailing(log) as tail:
        assert lines_of(tail, final=True) == [*content.splitlines(), b"last"]


@pytest.mark.parametrize("size", [MAX_LINE - 1, MAX_LINE, MAX_LINE + 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
@pytest.mark.parametrize("ended", [True, False])
def test_long_lines_are_shortened_and_the_next_one_is_whole(log: Path, size: int, ended: bool) -> None:
    append(log, b"before\n" + b"x" * size)
    with tailing(log) as tail:
        assert lines_of(tail) == [b"before"]
        if not ended:
            found = lines_of(tail, final=True)
        else:
            append(log, b"\nafter\n")
            found = lines_of(tail)
            assert found.pop() == b"after"
    assert len(found) == 1
    assert len(found[0]) <= MAX_LINE
    assert found[0] == b"x" * size or found[0].endswith(b"x [sekimori: the line had %d bytes]" % size)


def test_a_directory_or_a_pipe_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with tailing(path) as tail, pytest.raises(OSError, match="no regular file"):
            tail.poll(0.0, final=True)


class Crash(BaseException):
    """The process is gone."""


class Disturbed(MemoryLog):
    """A broker, and a shipper, that fail when told to: ``fault`` is taken once, at the next flush."""

    fault = ""

    def flush(self) -> dict[tuple[str, int], int]:
        fault, self.fault = self.fault, ""
        if fault == "before":
            self._pending = self._pending[: len(self._pending) // 2]
        after = super().flush()
        if fault == "killed":
            raise Crash
        if fault:
            raise BrokerUnavailable("told to")
        return after

    @contextmanager
    def connect(self) -> Iterator[Outbox]:
        self._pending.clear()
        yield self


class Shipping(RuleBasedStateMachine):
    """Random writing, rotating, cutting, polling, killing: what arrives is what was written, in order, once."""

    folders: tuple[Path, ...] = ()

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.log = self.folder / "mail.log"
        self.broker = Disturbed({"maillog": 3, "authlog": 3})
        self.written: list[bytes] = []
        self.half = b""
        self.clock = 1.0
        self.number = 0
        self.read = True
        self.shipper: Shipper | None = None
        self.seen = False
        self.unseen_since_cut = False

    def _append(self, content: bytes) -> None:
        append(self.log, content)
        self._touch()
        self.read = False

    def _touch(self) -> None:
        """Files written later are newer, however quick this is."""
        self.number += 1
        os.utime(self.log, ns=(self.number * 10**9, self.number * 10**9))

    @rule(count=st.integers(1, 5), auth=st.booleans())
    def write(self, count: int, auth: bool) -> None:
        for _ in range(count):
            self.number += 1
            program = b"dovecot" if auth else b"postfix/smtpd[1]"
            line = self.half or b"Nov 24 01:50:43 mx %s: line %d" % (program, self.number)
            self._append(line[len(self.half) and len(line) // 2 :] + b"\n")
            self.written.append(line)
            self.half = b""

    @precondition(lambda self: not self.half)
    @rule()
    def write_half(self) -> None:
        self.number += 1
        self.half = b"Nov 24 01:50:43 mx postfix/qmgr[1]: half line %d" % self.number
        self._append(self.half[: len(self.half) // 2])

    @precondition(lambda self: self.log.exists() and self.seen and not self.half)
    @rule(copy=st.booleans())
    def rotate(self, copy: bool) -> None:
        """A copy comes after everything before it was renamed, as logrotate does it."""
        for n in range(9, 0, -1):
            old = self.log.with_name(f"mail.log.{n}")
            if old.exists():
                old.rename(self.log.with_name(f"mail.log.{n + 1}"))
        first = self.log.with_name("mail.log.1")
        if copy and self.log.stat().st_size:
            if self.unseen_since_cut:
                self.poll()  # what is written and cut between two looks leaves no trace
            shutil.copy2(self.log, first)
            os.truncate(self.log, 0)
            self._touch()
            self.poll()  # nor can two cuts between two looks be told from one
            self.unseen_since_cut = True
        elif not copy:
            self.log.rename(first)

    @precondition(lambda self: self.read and self.log.exists() and not self.half)
    @rule()
    def remove(self) -> None:
        self.log.unlink()
        self.poll()
        self.seen = False

    @rule(seconds=st.sampled_from([0.2, GRACE_SECONDS + 1]))
    def poll(self, seconds: float = 0.2) -> None:
        self._run()
        self.clock += seconds
        self._run()
        self.read = True
        self.seen = self.seen or self.log.exists()
        if self.log.exists() and self.log.stat().st_size:
            self.unseen_since_cut = False

    @rule()
    def restart(self) -> None:
        self._gone()

    @rule(fault=st.sampled_from(["before", "after", "killed"]))
    def disturb(self, fault: str) -> None:
        self.broker.fault = fault

    def _run(self) -> None:
        try:
            if self.shipper is None:
                self.positions = Positions(self.folder / "state", self.log)
                waits = lambda seconds: seconds == 0.2  # noqa: E731
                world = World(self.broker.connect, self.broker, waits, lambda: self.clock, lambda: 0, MemoryRecorder())
                known = self.positions.load()
                tail = Tail(
                    self.log, known.files if known else None, seen=known.seen if known else None, folders=self.folders
                )
                options = Options("mx", batch_lines=2, follow=True)
                self.shipper = Shipper([(tail, self.positions)], options, world)
            self.shipper.run()
        except Crash:
            self._gone()
            self._run()

    def _gone(self) -> None:
        if self.shipper is not None:
            self.shipper.close()
            self.positions.close()
            self.shipper = None

    @invariant()
    def what_arrived_is_what_was_written(self) -> None:
        arrived: dict[str, list[bytes]] = {}
        for topic, partitions in self.broker.partitions.items():
            values = [r.value or b"" for log in partitions for r in log]
            arrived[topic] = [line for value in values for line in value.split(b"\n")]
        wanted: dict[str, list[bytes]] = {"maillog": [], "authlog": []}
        for line in self.written:
            wanted["authlog" if b"dovecot" in line else "maillog"].append(line)
        for topic, lines in arrived.items():
            assert lines == wanted[topic][: len(lines)]
            assert not self.read or len(lines) == len(wanted[topic])

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.broker.fault = ""
            self.poll()
            self.what_arrived_is_what_was_written()
            self._gone()
            shutil.rmtree(self.folder)


TestShipping = Shipping.TestCase
TestShipping.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
