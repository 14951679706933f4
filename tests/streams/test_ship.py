"""``sekimori ship`` as a real process against real brokers."""

import gzip
import json
import os
import random
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.adapters.kafka.client import TopicReader
from pipeline.cli import main
from pipeline.formats.reading.lines import LineReader
from pipeline.ports import Record
from schemas.event import Event
from tests.support.servers import EmbeddedBroker, free_port, sekimori

MAIL = b"Nov 24 01:50:43 mx postfix/smtpd[1]: line %d"
AUTH = b"Nov 24 01:50:43 mx dovecot: imap-login: line %d"
Eventually = Callable[..., None]


class Arrived:
    """What lies in ``maillog`` and ``authlog``, read on each time it is asked."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self._broker = broker
        self._positions: dict[tuple[str, int], int] = {}
        self.records: list[Record] = []

    def read(self) -> "Arrived":
        with TopicReader(self._broker.bootstrap, ["maillog", "authlog"], self._positions) as reader:
            while reader.behind():
                self.records += reader.poll(0.2)
            self._positions = reader.positions()
        return self

    def lines(self, topic: str) -> list[bytes]:
        return [line for r in self.records if r.topic == topic for line in (r.value or b"").split(b"\n")]

    def count(self) -> int:
        return sum((record.value or b"").count(b"\n") + 1 for record in self.read().records)


def run(
    broker: EmbeddedBroker, tmp_path: Path, *arguments: str | Path, given: str = ""
) -> subprocess.CompletedProcess[str]:
    command = sekimori("ship", "--broker", broker.bootstrap, "--state", tmp_path / "state", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input=given)


@contextmanager
def following(broker: EmbeddedBroker, tmp_path: Path, *arguments: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    command = sekimori(
        "ship", *arguments, "--follow", "--host", "mx1", "--broker", broker.bootstrap, "--state", tmp_path / "state"
    )
    with (tmp_path / "ship.log").open("ab") as out:
        process = subprocess.Popen([*command, "--linger-ms", "20"], stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_file_arrives_once_in_frames_of_whole_lines(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    log, arrived = tmp_path / "mail.log", Arrived(fresh_broker)
    content = [(AUTH if n % 3 == 0 else MAIL) % n for n in range(1000)]
    log.write_bytes(b"\n".join(content) + b"\n")
    first = run(fresh_broker, tmp_path, log, "--host", "mx1", "--json", "--batch-lines", "100")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout) == {
        "files": [str(log)],
        "lines": 1000,
        "messages": 11,
        "bytes": sum(map(len, content)) + 1000 - 11,
        "shortened": 0,
    }
    assert arrived.read().lines("maillog") == [line for line in content if b"postfix" in line]
    assert arrived.read().lines("authlog") == [line for line in content if b"dovecot" in line]
    for record in arrived.records:
        assert record.key == b"mx1"
        assert (record.value or b"").count(b"\n") < 100
        headers = dict(record.headers)
        assert int(headers["end"]) <= log.stat().st_size
        assert headers["file"]
    second = run(fresh_broker, tmp_path, log, "--host", "mx1")
    assert second.returncode == 0
    assert "0 lines" in second.stderr
    assert "--again" in second.stderr
    assert arrived.count() == 1000
    third = run(fresh_broker, tmp_path, log, "--host", "mx1", "--again", "--topic", "maillog")
    assert "1,000 lines" in third.stderr
    assert len(arrived.read().lines("maillog")) == 666 + 1000


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_packed_files_and_several_at_once(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    old, new, arrived = tmp_path / "mail.log.2.gz", tmp_path / "auth.log", Arrived(fresh_broker)
    old.write_bytes(gzip.compress(b"".join(MAIL % n + b"\n" for n in range(500))))
    new.write_bytes(b"".join(AUTH % n + b"\n" for n in range(500)) + b"x" * 2_000_000 + b"\n")
    result = run(fresh_broker, tmp_path, old, new, "--host", "mx1")
    assert result.returncode == 0, result.stderr
    assert "1,001 lines" in result.stderr
    assert "1 were too long" in result.stderr
    got = arrived.read().lines("maillog")
    assert got[:500] == [MAIL % n for n in range(500)]
    assert got[500].endswith(b"[sekimori: the line had 2000000 bytes]")
    assert arrived.read().lines("authlog") == [AUTH % n for n in range(500)]


@pytest.mark.parametrize("seed", [1, 2])
def test_killed_in_mid_stream_nothing_is_lost_or_repeated(
    fresh_broker: EmbeddedBroker, tmp_path: Path, eventually: Eventually, seed: int
) -> None:
    """kill -9 again and again, while the file grows and is rotated in every way."""
    chance = random.Random(seed)
    log, arrived = tmp_path / "mail.log", Arrived(fresh_broker)
    written: list[bytes] = []

    def write(count: int) -> None:
        batch = [(AUTH if chance.random() < 0.3 else MAIL) % (len(written) + n) for n in range(count)]
        written.extend(batch)
        with log.open("ab") as out:
            out.write(b"".join(line + b"\n" for line in batch))

    for turn in range(6):
        write(chance.randint(1, 5_000))
        with following(fresh_broker, tmp_path, log, "--batch-lines", "5"):
            goal = arrived.count() + chance.randint(0, 3_000)
            eventually(lambda goal=goal: arrived.count() >= min(goal, len(written)), seconds=30)
            write(chance.randint(1, 20_000))
            if turn % 2:
                log.rename(tmp_path / f"mail.log.{9 - turn}")
                write(chance.randint(1, 5_000))
    with following(fresh_broker, tmp_path, log) as process:
        eventually(lambda: arrived.count() >= len(written), seconds=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    assert arrived.read().lines("maillog") == [line for line in written if b"postfix" in line]
    assert arrived.read().lines("authlog") == [line for line in written if b"dovecot" in line]


@pytest.mark.parametrize("fresh_broker", ["apache"], indirect=True)
def test_a_broker_that_goes_away_is_waited_for(
    fresh_broker: EmbeddedBroker, tmp_path: Path, eventually: Eventually
) -> None:
    log, arrived = tmp_path / "mail.log", Arrived(fresh_broker)
    written = 0

    def write() -> None:
        nonlocal written
        with log.open("ab") as out:
            out.write(b"".join(MAIL % n + b"\n" for n in range(written, written + 2000)))
        written += 2000

    with following(fresh_broker, tmp_path, log) as process:
        write()
        eventually(lambda: len(arrived.read().lines("maillog")) == written, seconds=30)
        fresh_broker.kill()
        write()
        said = tmp_path / "ship.log"
        eventually(lambda: b"broker_unavailable" in said.read_bytes(), seconds=40)
        fresh_broker.start()
        write()
        eventually(lambda: len(arrived.read().lines("maillog")) >= written, seconds=60)
        process.send_signal(signal.SIGINT)
        assert process.wait(15) == 0
    assert arrived.read().lines("maillog") == [MAIL % n for n in range(written)]
    assert said.read_bytes().count(b"broker_unavailable") <= 2
    assert b"6,000 lines" in said.read_bytes()


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_what_cannot_be_shipped_is_said(fresh_broker: EmbeddedBroker, tmp_path: Path, eventually: Eventually) -> None:
    packed, log = tmp_path / "mail.log.2.gz", tmp_path / "mail.log"
    packed.write_bytes(gzip.compress(b"x\n"))
    log.write_bytes(b"x\n")
    for arguments, said in (
        ([tmp_path / "nothing"], "with --follow it may come later"),
        ([tmp_path], "no regular file"),
        ([packed, "--follow"], "without --follow"),
        ([log, log], "given twice"),
        ([log, "--broker", "nowhere"], "host:port"),
        ([log, "--topic", "other"], "'other' is not one of"),
    ):
        result = CliRunner().invoke(main, ["ship", *map(str, arguments)])
        assert result.exit_code in (1, 2)
        assert said in " ".join(result.output.split())
    with following(fresh_broker, tmp_path, log) as process:
        eventually(lambda: list((tmp_path / "state" / "ship").glob("*.json")), seconds=20)
        result = run(fresh_broker, tmp_path, log)
        assert result.returncode == 1
        assert "by another process already" in result.stderr
        process.terminate()
        assert process.wait(15) == 0
    state = next((tmp_path / "state" / "ship").glob("*.json"))
    assert state.stat().st_mode & 0o777 == 0o600
    unknown = CliRunner().invoke(main, ["ship", str(log)], env={"SEKIMORI_BROKER": "x:1"})
    assert unknown.exit_code == 1
    assert "SEKIMORI_BROKER: no such setting" in unknown.output


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    ("rotated", "pack"),
    [
        *(("mail-20261124.log", ()), ("mail.log.old", ()), ("olddir/mail.log-20261124", ()), ("below/anything", ())),
        *(("mail.log.1", ("gzip",)), ("mail.log-20261124", ("xz",)), ("mail.1.log", ("bzip2",))),
        ("olddir/mail.log.1", ("zstd", "--rm", "-q")),
    ],
)
def test_rotated_while_it_was_stopped(
    fresh_broker: EmbeddedBroker, tmp_path: Path, rotated: str, pack: tuple[str, ...]
) -> None:
    log, arrived, moved = tmp_path / "logs/mail.log", Arrived(fresh_broker), tmp_path / "logs" / rotated
    moved.parent.mkdir(parents=True, exist_ok=True)

    def write(start: int, end: int) -> None:
        with log.open("ab") as out:
            out.write(b"".join(MAIL % n + b"\n" for n in range(start, end)))

    for start, change in ((0, False), (100, True), (300, False), (400, False)):
        write(start, start + 100)
        if change:
            log.rename(moved)
            if pack:
                subprocess.run([*pack, moved], check=True)
                packed = next(moved.parent.glob(f"{moved.name}.*"))
                os.utime(packed)  # the time of packing, whatever the packer kept
            write(start + 100, start + 200)
        result = run(fresh_broker, tmp_path, log, "--olddir", tmp_path / "logs/olddir", "--host", "mx1")
        assert result.returncode == 0, result.stderr
        assert "file_gone" not in result.stderr
    assert sorted(arrived.read().lines("maillog")) == sorted(MAIL % n for n in range(500))


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_standard_input_and_named_pipes(fresh_broker: EmbeddedBroker, tmp_path: Path) -> None:
    pipe, arrived = tmp_path / "pipe", Arrived(fresh_broker)
    result = run(fresh_broker, tmp_path, "-", "--host", "mx1", given="one\ntwo\nthree")
    assert "3 lines" in result.stderr
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", 'for n in 1 2 3; do echo "$n"; done >"$1"', "sh", pipe])
    result = run(fresh_broker, tmp_path, pipe, "--host", "mx1")
    assert writer.wait(10) == 0
    assert "3 lines" in result.stderr, result.stderr
    assert arrived.read().lines("maillog") == [b"one", b"two", b"three", b"1", b"2", b"3"]


ENTRY = """__REALTIME_TIMESTAMP={time}
__MONOTONIC_TIMESTAMP={time}
_BOOT_ID=0123456789abcdef0123456789abcdef
_MACHINE_ID=0123456789abcdef0123456789abcdef
_HOSTNAME=mx1
SYSLOG_IDENTIFIER=postfix/smtpd
_PID=12
MESSAGE=warning: unknown[192.0.2.7]: SASL LOGIN authentication failed: {number}

"""


def write_journal(file: Path, numbers: range) -> None:
    """What systemd's own tool makes of these entries."""
    tool = shutil.which("systemd-journal-remote", path=f"{os.environ['PATH']}:/usr/lib/systemd:/lib/systemd")
    assert tool is not None, "install systemd-journal-remote: make servers"
    text = "".join(ENTRY.format(time=1_795_485_043_000_000 + number, number=number) for number in numbers)
    subprocess.run([tool, "--output", file, "-"], input=text.encode(), check=True, capture_output=True)


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_a_journal_of_systemd(fresh_broker: EmbeddedBroker, tmp_path: Path, eventually: Eventually) -> None:
    journal, arrived = tmp_path / "journal", Arrived(fresh_broker)
    journal.mkdir()
    write_journal(journal / "mx1.journal", range(500))
    first = run(fresh_broker, tmp_path, "--journal-from", journal, "--host", "mx1", "--json")
    assert json.loads(first.stdout)["lines"] == 500, first.stderr
    write_journal(journal / "mx1.journal", range(500, 600))
    for kills in range(3):
        with following(fresh_broker, tmp_path, "--journal-from", journal, "--batch-lines", "7"):
            eventually(lambda kills=kills: arrived.count() >= 500 + 30 * kills, seconds=30)
    with following(fresh_broker, tmp_path, "--journal-from", journal) as process:
        eventually(lambda: arrived.count() >= 600, seconds=30)
        write_journal(journal / "mx1.journal", range(600, 650))
        eventually(lambda: arrived.count() >= 650, seconds=30)
        process.terminate()
        assert process.wait(15) == 0
    entries = [json.loads(line) for line in arrived.read().lines("maillog")]
    assert [int(entry["MESSAGE"].rpartition(" ")[2]) for entry in entries] == list(range(650))
    read = LineReader().read(json.dumps(entries[7]), 1_795_485_300.0)
    assert isinstance(read, Event)
    assert (read.kind, read.host, read.client_ip) == ("auth_failure", "mx1", "192.0.2.7")


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_a_shipper_says_how_it_fares(fresh_broker: EmbeddedBroker, tmp_path: Path, eventually: Eventually) -> None:
    log, port = tmp_path / "mail.log", free_port()
    log.write_bytes(b"one\n")

    def asked(path: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except urllib.error.URLError:  # it only begins
            return ""

    with following(fresh_broker, tmp_path, log, tmp_path / "later.log", "--metrics", f"127.0.0.1:{port}"):
        eventually(lambda: "sekimori_ship_lines_total 1.0" in asked("/metrics"), seconds=30)
        assert f'sekimori_ship_lag_bytes{{file="{log}"}} 0.0' in asked("/metrics")
        assert json.loads(asked("/healthz")) == {"ok": True, "broker": True, "unreadable": {}, "unsaved": {}}
        (tmp_path / "later.log").mkdir()
        eventually(lambda: "later.log" in asked("/healthz"), seconds=30)
