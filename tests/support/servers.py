"""Real brokers and stores for the tests, on free ports of the loopback interface, ended with the test process."""

import fcntl
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

from pipeline.adapters.demo.broker import Child, EmbeddedBroker, free_port
from pipeline.adapters.kafka.topics import create_topics
from pipeline.ports import StoreUnavailable
from tests.support.paths import ROOT

POM = ROOT / "tests" / "kafka" / "pom.xml"
CACHE = Path(os.environ.get("TEST_CACHE_DIR") or ROOT / "var" / "tests")


class ApacheKafka(EmbeddedBroker):
    """Apache Kafka itself: one KRaft node, small heap, data in ``folder``; what is written survives a restart."""

    kind = "apache"
    start_seconds = 120.0

    def __init__(self, folder: Path, port: int | None = None) -> None:
        super().__init__(folder, port)
        self.jars = kafka_jars()
        self.properties = folder / "server.properties"
        self.properties.write_text(self._properties())
        self._java("kafka.tools.StorageTool", "format", "--standalone", "-t", "c2VraW1vcmktdGVzdHM", "-c")

    def command(self) -> list[str]:
        return [*self._jvm(), "kafka.Kafka", str(self.properties)]

    def _jvm(self) -> list[str]:
        options = ["-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
        quiet = f"-Dlog4j2.configurationFile={POM.parent / 'log4j2.yaml'}"
        return [java(), *options, quiet, f"-Dkafka.logs.dir={self.folder}", "-cp", f"{self.jars}/*"]

    def _java(self, main: str, *arguments: str) -> None:
        command = [*self._jvm(), main, *arguments, str(self.properties)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stdout + run.stderr

    def _properties(self) -> str:
        controller = next(port for port in iter(free_port, None) if port != self.port)
        return f"""
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:{controller}
listeners=PLAINTEXT://{self.bootstrap},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://{self.bootstrap}
controller.listener.names=CONTROLLER
log.dirs={self.folder}/data
num.partitions=1
offsets.topic.num.partitions=1
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.segment.bytes=16777216
log.index.size.max.bytes=1048576
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=2
background.threads=2
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.backoff.ms=200
log.cleaner.threads=1
"""


BROKERS: dict[str, type[EmbeddedBroker]] = {b.kind: b for b in (EmbeddedBroker, ApacheKafka)}


def start_broker(kind: str, folder: Path, partitions: int = 4) -> EmbeddedBroker:
    """A running broker of this kind with every topic of ours prepared. The caller stops it."""
    broker = BROKERS[kind](folder).start()
    try:
        create_topics(broker.bootstrap, partitions=partitions)
    except BaseException:
        broker.stop()
        raise
    return broker


class ClickHouseServer:
    """A real ClickHouse server, its data in ``folder``; what is written survives a restart."""

    start_seconds = 90.0

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = folder
        self.log = folder / "clickhouse.log"
        self.config = folder / "config.xml"
        self._child: Child | None = None
        folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(self._config())

    def start(self) -> Self:
        """Returns when it answers."""
        binary = shutil.which("clickhouse-server", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if binary is None:
            raise RuntimeError("there is no clickhouse-server; run tests/install-servers.sh as root, or install it")
        self._child = Child([binary, f"--config-file={self.config}"], self.log)
        deadline = time.monotonic() + self.start_seconds
        while not self._answers():
            if time.monotonic() > deadline or not self._child.alive():
                self.stop()
                raise RuntimeError(f"ClickHouse did not start:\n{self.log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        return self

    def _answers(self) -> bool:
        from pipeline.adapters.stores.clickhouse import ClickHouse  # it brings pandas

        try:
            with ClickHouse(self.address) as store:
                store.execute("SELECT 1")
        except StoreUnavailable:
            return False
        return True

    @property
    def pids(self) -> frozenset[int]:
        """Of its processes while it runs."""
        return self._child.pids if self._child else frozenset()

    def stop(self, signum: int = signal.SIGTERM) -> None:
        """Ends it; ``signal.SIGKILL`` for a crash."""
        if self._child is not None:
            self._child.stop(signum)
            self._child = None

    def kill(self) -> None:
        """A crash."""
        self.stop(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _config(self) -> str:
        user = "<password/><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>"
        return f"""<yandex>
<logger><level>warning</level><console>1</console></logger>
<listen_host>127.0.0.1</listen_host>
<tcp_port>{self.port}</tcp_port>
<path>{self.folder}/data/</path>
<tmp_path>{self.folder}/tmp/</tmp_path>
<mark_cache_size>268435456</mark_cache_size>
<timezone>Asia/Tokyo</timezone>
<users_config>{self.config}</users_config>
<default_profile>default</default_profile>
<default_database>default</default_database>
<profiles><default/></profiles>
<quotas><default/></quotas>
<users><default>{user}</default></users>
</yandex>
"""


def java() -> str:
    """A Java of version 17 or later."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None) or shutil.which("java")
    if found:
        text = subprocess.run([found, "-version"], capture_output=True, text=True, check=True).stderr
        version = re.search(r'version "(\d+)', text)
        if version and int(version[1]) >= 17:
            return found
    raise RuntimeError("Apache Kafka needs Java 17 or later; run tests/install-servers.sh as root, or install it")


def kafka_jars() -> Path:
    """The folder with Apache Kafka's jars, fetched by Maven once for each version of the pom."""
    folder = CACHE / f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:12]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "kafka.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise RuntimeError("Apache Kafka comes by Maven; run tests/install-servers.sh as root, or install mvn")
    half = folder.with_suffix(".part")
    shutil.rmtree(half, ignore_errors=True)
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    command = [maven, "-q", "-B", "-f", str(POM), goal, f"-DoutputDirectory={half}", "-DincludeScope=runtime"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, f"Maven could not fetch Apache Kafka:\n{run.stdout}{run.stderr}"
    half.rename(folder)


def sekimori(*arguments: str | Path) -> list[str]:
    """The command line of ``sekimori`` with these arguments, run by this Python from this checkout."""
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from pipeline.cli import main; main(prog_name='sekimori')"
    return [sys.executable, "-c", start, *map(str, arguments)]


__all__ = [
    "BROKERS",
    "ROOT",
    "ApacheKafka",
    "ClickHouseServer",
    "EmbeddedBroker",
    "free_port",
    "java",
    "kafka_jars",
    "sekimori",
    "start_broker",
]
