"""``sekimori ship`` as a real process against real brokers."""

import gzip
import json
import random
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.adapters.kafka.client import TopicReader
from pipeline.cli import main
from pipeline.ports import Record
from tests.support.servers import EmbeddedBroker, sekimori

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


def run(broker: EmbeddedBroker, tmp_path: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = sekimori("ship", "--broker", broker.bootstrap, "--state", tmp_path / "state", *arguments)
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


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
