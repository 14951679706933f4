"""Prometheus asks real jobs, every dashboard and rule is evaluated on what they tell, and operators hear of alerts."""

import json
import re
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pipeline.adapters.demo.broker import EmbeddedBroker
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.adapters.kafka.security.signing import new_key
from pipeline.adapters.stores.clickhouse import ClickHouse
from pipeline.metrics import METRICS, MetricFamily
from pipeline.storage.storing import apply_ddl
from schemas.codec import encode, encode_frame
from schemas.event import EXAMPLES
from tests.support.cluster import RECORDED, Job, feed, running, wait_for
from tests.support.decisions import allow, decision
from tests.support.monitoring import (
    ALERTMANAGER,
    ALERTS,
    PROMETHEUS,
    Alertmanager,
    Listener,
    Prometheus,
    tool,
    with_receivers,
)
from tests.support.servers import ROOT, ClickHouseServer, free_port, sekimori, start_broker
from tests.test_dashboards import ALERTS as RULES
from tests.test_dashboards import BOARDS, metric_of
from tests.unit.hooks.test_postfix import request

pytestmark = pytest.mark.servers

Eventually = Callable[..., None]
REFERENCE = 1795485300  # when the recording ended, seconds since 1970
UNREADABLE = b"Nov 24 01:50:43 mx postfix/qmgr[1]: 0000000001: from=<x>, size=?, nrcpt=1 (queue active)\n"
API_KEY = "secret"
PANELS = [
    (f"{name}: {panel['title']}", target["expr"].replace("$__rate_interval", "5m"))
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel.get("targets", ())
    if "expr" in target
]


@dataclass
class Watched:
    """Jobs that have seen everything that they count, and who watches them. ``second``: where nobody listens yet."""

    broker: EmbeddedBroker
    folder: Path
    second: int
    prometheus: Prometheus
    alertmanager: Alertmanager
    listener: Listener

    def agent(self) -> Job:
        """The enforcement agent of a second mail server."""
        return Job(
            "enforce",
            self.broker.bootstrap,
            self.folder,
            f"--policy-unix={self.folder / 'policy'}",
            f"--metrics=127.0.0.1:{self.second}",
        )


def run(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_own_tools_take_configuration_and_rules() -> None:
    run(tool("promtool"), "check", "config", PROMETHEUS)
    assert f"{len(RULES)} rules found" in run(tool("promtool"), "check", "rules", ALERTS)


def test_alerts_fire_when_they_should() -> None:
    trials = sorted((ROOT / "tests/compose").glob("*.test.yml"))
    assert len(trials) == 2
    assert run(tool("promtool"), "test", "rules", *trials).count("SUCCESS") == 2


def test_alertmanagers_own_tool_takes_configuration_and_receivers(tmp_path: Path) -> None:
    run(tool("amtool"), "check-config", ALERTMANAGER)
    config = with_receivers()
    assert {"email_configs", "webhook_configs"} <= set(config["receivers"][0])
    filled = tmp_path / "alertmanager.yml"
    filled.write_text(json.dumps(config))
    run(tool("amtool"), "check-config", filled)
    for severity in {rule["labels"]["severity"] for rule in RULES.values()}:
        routes = run(tool("amtool"), "config", "routes", "test", f"--config.file={filled}", f"severity={severity}")
        assert routes.strip() == "operators"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("monitoring")
    rules = folder / "rules.toml"
    rules.write_text("")
    ports = {
        name: free_port() for name in ("normalize", "detect", "enforce", "store", "policy", "dovecot", "second", "ship")
    }
    with ExitStack() as stack:
        broker = start_broker("embedded", folder)
        stack.callback(broker.stop)
        clickhouse = stack.enter_context(ClickHouseServer(folder / "clickhouse"))
        with ClickHouse(clickhouse.address) as store:
            apply_ddl(store)
        write_what_the_jobs_read(broker.bootstrap)

        def start(name: str, *arguments: str, **settings: str) -> None:
            metrics = f"--metrics=127.0.0.1:{ports[name]}"
            job = Job(name, broker.bootstrap, folder, metrics, *arguments, rules=str(rules), **settings)
            stack.enter_context(running(job))
            jobs.append(job)

        jobs: list[Job] = []
        hooks = [f"--{hook}=127.0.0.1:{ports[hook]}" for hook in ("policy", "dovecot")]
        start("enforce", *hooks, dovecot_api_key=API_KEY)
        start("store", clickhouse=clickhouse.address, trusted_keys=str(trusting_nobody(folder)))
        start("normalize")
        start("detect")
        listener = stack.enter_context(Listener())
        alertmanager = stack.enter_context(Alertmanager(folder / "alertmanager", listener.url))
        shipped = folder / "shipped.log"
        shipped.write_bytes(b"a line of no mail server\n")
        stack.enter_context(shipping(broker.bootstrap, shipped, ports["ship"]))
        targets = {name: [ports[name]] for name in ("normalize", "detect", "enforce", "store", "ship")}
        targets["enforce"].append(ports["second"])
        prometheus = stack.enter_context(Prometheus(folder / "prometheus", targets, alertmanager.address))
        made = Watched(broker, folder / "second", ports["second"], prometheus, alertmanager, listener)
        made.folder.mkdir()
        wait_for(lambda: len(prometheus.query("up == 1")) == 5, "the jobs answer", 60, *jobs)
        ready = 'sekimori_enforce_ready{job="enforce"} == 1'
        wait_for(lambda: bool(prometheus.query(ready)), "the agent is ready", 60, *jobs)
        (folder / "broken.log").write_bytes(UNREADABLE * 400)
        feed(broker.bootstrap, REFERENCE * 1000, maillog=(RECORDED / "mail.log", 0))
        feed(broker.bootstrap, REFERENCE * 1000, authlog=(RECORDED / "dovecot.log", 0))
        well = 'sekimori_normalize_lines_total{topic="maillog", outcome="dead_letter"} == 0'
        wait_for(lambda: bool(prometheus.query(well)), "Prometheus sees that all lines are readable", 60, *jobs)
        feed(broker.bootstrap, REFERENCE * 1000, maillog=(folder / "broken.log", 0))
        ask_hooks(ports["policy"], ports["dovecot"])
        with KafkaOutbox(broker.bootstrap) as out:
            out.send("maillog", b"fast", line_of("fast", timedelta(hours=9)))
            out.send("maillog", None, line_of("scattered", timedelta(0)), partition=0)
            out.send("maillog", b"odd", b"24.11. 1:50 Uhr odd postfix/smtpd[1]: connect from unknown[192.0.2.1]")
            out.send("tallies", b"x", b"?")
            out.flush()
        rules.write_text("[rules.account_send_rate]\nlimit = 1\n")
        yield made


def trusting_nobody(folder: Path) -> Path:
    """Keys of which none has signed what the topics hold."""
    trusted = folder / "trusted.toml"
    trusted.write_text(new_key(folder / "detect-1.pem", "detect"))
    return trusted


@contextmanager
def shipping(bootstrap: str, log: Path, port: int) -> Iterator[None]:
    """A shipper that follows ``log``."""
    command = sekimori("ship", "--follow", "--broker", bootstrap, "--state", log.parent / "ship", log)
    process = subprocess.Popen([*command, f"--metrics=127.0.0.1:{port}"])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def write_what_the_jobs_read(bootstrap: str) -> None:
    """Decisions for the hooks, one of them in no language of ours, an allowlisted account, and an event that is too old
    to be kept."""
    now = datetime.now(UTC)
    old = msgspec.structs.replace(EXAMPLES[0], time=now - timedelta(days=1000))
    with KafkaOutbox(bootstrap) as out:
        for subject, mode in (("alice@example.org", "enforce"), ("carol@example.org", "shadow")):
            message = decision(subject, mode=mode, issued_at=now)
            out.send("enforcement", message.key.encode(), encode(message))
        out.send("enforcement", b"account:nonsense:x", b"?")
        allowed = allow("dan@example.org")
        out.send("settings", allowed.key.encode(), encode(allowed))
        out.send("events", b"mx", encode_frame([old]), (("source", b"maillog-9"), ("offset", b"1")))
        out.flush()


def line_of(host: str, ahead: timedelta) -> bytes:
    """A line of just now, of a host whose clock is so far ahead."""
    at = datetime.now(UTC) + ahead
    return f"{at:%Y-%m-%dT%H:%M:%S}+00:00 {host} postfix/pickup[1]: 4F0000: uid=0 from=<root>".encode()


def ask_hooks(policy: int, dovecot: int) -> None:
    """One question of each kind."""
    for account in ("alice@example.org", "bob@example.org", "carol@example.org"):
        with socket.create_connection(("127.0.0.1", policy), 5) as connection:
            connection.sendall(request(sasl_username=account) + b"\n\n")
            assert connection.recv(4096).startswith(b"action=")
    body = {"login": "alice@example.org", "remote": "198.51.100.7", "protocol": "imap"}
    for command, key in (("allow", API_KEY), ("report", API_KEY), ("allow", "wrong")):
        told = json.dumps(body | {"success": False, "policy_reject": False}).encode()
        url = f"http://127.0.0.1:{dovecot}/?command={command}"
        with (
            suppress(urllib.error.HTTPError),
            urllib.request.urlopen(urllib.request.Request(url, told, {"X-API-Key": key}), timeout=5) as answer,
        ):
            answer.read()


def test_every_panel_has_something_to_show(watched: Watched, eventually: Eventually) -> None:
    assert len(PANELS) > 40
    for name, promql in PANELS:
        eventually(lambda promql=promql: watched.prometheus.query(promql), 30, f"{name}: {promql}")


def test_every_rule_can_be_evaluated(watched: Watched, eventually: Eventually) -> None:
    def rules() -> dict[str, str]:
        groups = watched.prometheus.get("/api/v1/rules")["data"]["groups"]
        return {rule["name"]: rule["health"] + rule.get("lastError", "") for group in groups for rule in group["rules"]}

    eventually(lambda: rules() == dict.fromkeys(RULES, "ok"), 30, f"all rules are well: {rules()}")


def declared(name: str) -> MetricFamily | None:
    """The metric that a scraped name belongs to; the client library adds the time when each began."""
    begun = name.removesuffix("_created")
    return metric_of(name) or metric_of(f"{begun}_total") or metric_of(f"{begun}_sum")


def test_every_metric_is_scraped_and_no_other(watched: Watched, eventually: Eventually) -> None:
    def scraped() -> set[str]:
        series = watched.prometheus.query('count by (__name__) ({__name__=~"sekimori.+"})')
        names = {one["metric"]["__name__"] for one in series}
        assert {name for name in names if declared(name) is None} == set()
        return {metric.name for name in names if (metric := declared(name))}

    eventually(lambda: scraped() == {metric.name for metric in METRICS}, 30, "every metric is there")


def test_unreadable_lines_and_refused_rules_are_told(watched: Watched, eventually: Eventually) -> None:
    (dead,) = told(watched, eventually, "SekimoriDeadLetters", job="normalize", topic="maillog")
    assert "of the lines on maillog cannot be read" in dead["annotations"]["summary"]
    assert dead["labels"]["severity"] == "warning"
    assert "dead_letters" in dead["annotations"]["description"]
    (refused,) = told(watched, eventually, "SekimoriRulesRefused", job="detect")
    assert refused["annotations"]["summary"] == "The new rules file is wrong; the old rules are kept"
    told(watched, eventually, "SekimoriTalliesUnreadable", job="detect")
    told(watched, eventually, "SekimoriDecisionsUnreadable", job="enforce", topic="enforcement")
    (clock,) = told(watched, eventually, "SekimoriClockWrong", job="normalize", host="fast")
    assert re.search(
        r"The clock or the zone of fast is wrong: its lines are 32\d\d\d s ahead", clock["annotations"]["summary"]
    )


def told(
    watched: Watched, eventually: Eventually, name: str, status: str = "firing", **labels: str
) -> list[dict[str, Any]]:
    """What the operator was told of this alert, once it was."""
    what = f"{name} {labels} is told as {status}; firing: {watched.prometheus.firing()}"
    eventually(lambda: watched.listener.alerts(name, status, **labels), 30, what)
    return watched.listener.alerts(name, status, **labels)[-1:]


def test_an_agent_that_dies_is_told_and_so_is_its_return(watched: Watched, eventually: Eventually) -> None:
    here = {"job": "enforce", "instance": f"127.0.0.1:{watched.second}"}

    def fires() -> bool:
        return any(here.items() <= labels.items() for labels in watched.prometheus.firing())

    def starts(status: str) -> set[str]:
        return {alert["startsAt"] for alert in watched.listener.alerts("SekimoriJobDown", status, **here)}

    told(watched, eventually, "SekimoriJobDown", **here)
    first = starts("firing")
    with running(agent := watched.agent()):
        told(watched, eventually, "SekimoriJobDown", "resolved", **here)
        eventually(lambda: not fires(), 30, "no alert of the second agent is left")
        agent.kill()
        eventually(fires, 30, "the alert fires again")
        eventually(lambda: starts("firing") > first, 30, "the operator is told again")
    assert starts("resolved") == first


def test_what_follows_from_a_job_that_is_down_is_not_told(watched: Watched, eventually: Eventually) -> None:
    manager = watched.alertmanager
    mx = {"job": "enforce", "instance": "mx7:9100", "severity": "critical"}
    manager.post(mx | {"alertname": "SekimoriJobDown"}, mx | {"alertname": "SekimoriTableStale"})
    manager.post(mx | {"alertname": "SekimoriTableStale", "instance": "mx8:9100"})
    eventually(
        lambda: (
            manager.states(instance="mx7:9100") == {"SekimoriJobDown": "active", "SekimoriTableStale": "suppressed"}
        ),
        10,
        "the stale table of a job that is down is not told",
    )
    assert manager.states(instance="mx8:9100") == {"SekimoriTableStale": "active"}
    manager.post(*({"alertname": name, "job": "absent"} for name in ("SekimoriJobMissing", "SekimoriNoLines")))
    eventually(
        lambda: manager.states(job="absent") == {"SekimoriJobMissing": "active", "SekimoriNoLines": "suppressed"},
        10,
        "no lines come where nothing runs",
    )
