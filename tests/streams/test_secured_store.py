"""ClickHouse with TLS and a password in a file: every job and command that uses the store."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.ports import StoreError, StoreUnavailable
from pipeline.settings import Settings, SettingsError
from schemas.codec import encode_frame
from schemas.event import EXAMPLES
from tests.support.certificates import Authority
from tests.support.cluster import Job, running, wait_for
from tests.support.secured import SecuredClickHouse, password_of
from tests.support.servers import EmbeddedBroker, sekimori

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredClickHouse]:
    with SecuredClickHouse(tmp_path_factory.mktemp("clickhouse")) as server:
        yield server


def given(server: SecuredClickHouse) -> dict[str, str]:
    return {
        "clickhouse": server.secure_address,
        "clickhouse_password_file": str(server.password_file),
        "clickhouse_ca": str(server.ca),
    }


def variables(settings: dict[str, str]) -> dict[str, str]:
    return {f"SEKIMORI_{name.upper()}": value for name, value in settings.items()}


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_prepare_store_and_backtest_by_tls(
    fresh_broker: EmbeddedBroker, server: SecuredClickHouse, tmp_path: Path
) -> None:
    env = {"PATH": "/usr/bin:/bin", "SEKIMORI_BROKERS": fresh_broker.bootstrap} | variables(given(server))
    made = subprocess.run(sekimori("prepare"), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert made.returncode == 0, made.stderr
    with KafkaOutbox(fresh_broker.bootstrap) as out:
        out.send("events", b"mx", encode_frame(EXAMPLES), (("source", b"maillog-0"), ("offset", b"0")))
        out.flush()
    job = Job("store", fresh_broker.bootstrap, fresh_broker.folder, **given(server))
    with running(job), ClickHouse.of(Settings.from_env(env)) as store:
        wait_for(lambda: len(store.query("SELECT * FROM events")) == len(EXAMPLES), "events", 60, job)
        assert job.stop() == 0
    rules = tmp_path / "rules.toml"
    rules.touch()
    command = sekimori("backtest", "--rules", rules, "--jobs", "1", "--json")
    tried = subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert tried.returncode == 0, tried.stderr
    assert f'"lines": {len(EXAMPLES)}' in tried.stdout
    assert password_of("mail") not in made.stdout + made.stderr + tried.stdout + tried.stderr + job.log.read_text()


def test_a_stranger_gets_nowhere_and_is_told_why(server: SecuredClickHouse, tmp_path: Path) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong\n")
    other = Authority(tmp_path / "other").ca
    for password, ca, kind, words in (
        (wrong, server.ca, StoreError, "Wrong password"),
        (server.password_file, other, StoreUnavailable, "CERTIFICATE_VERIFY_FAILED"),
        (server.password_file, None, StoreUnavailable, "CERTIFICATE_VERIFY_FAILED"),
    ):
        with ClickHouse(server.secure_address, password, ca) as store, pytest.raises(kind) as refused:
            store.query("SELECT 1")
        assert words in str(refused.value)
        assert password_of("mail") not in str(refused.value)
    empty = tmp_path / "empty"
    empty.touch()
    with (
        ClickHouse(server.secure_address, empty, server.ca) as store,
        pytest.raises(SettingsError, match=r"SEKIMORI_CLICKHOUSE_PASSWORD_FILE: .* must hold the password"),
    ):
        store.query("SELECT 1")
