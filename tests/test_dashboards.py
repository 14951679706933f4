"""Alerts and dashboards name only what there is: metrics and their labels, jobs, tables, columns, files."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
import yaml

from pipeline.metrics import DETECT, ENFORCE, METRICS, NORMALIZE, SHIP, SIGNED, STORE, STREAM, MetricFamily
from pipeline.ports import RowStore
from tests.support.paths import ROOT

COMPOSE = ROOT / "compose"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
PROMETHEUS = yaml.safe_load((COMPOSE / "prometheus/prometheus.yml").read_text())
ALERTMANAGER = yaml.safe_load((COMPOSE / "alertmanager/alertmanager.yml").read_text())
GROUPS = yaml.safe_load((COMPOSE / "prometheus/alerts.yml").read_text())["groups"]
ALERTS: dict[str, dict[str, Any]] = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
PROVISIONING = COMPOSE / "grafana/provisioning"
SOURCES: list[dict[str, Any]] = yaml.safe_load((PROVISIONING / "datasources/sekimori.yml").read_text())["datasources"]
KINDS = {source["uid"]: source["type"] for source in SOURCES}
BOARDS: dict[str, dict[str, Any]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((COMPOSE / "grafana/dashboards").glob("*.json"))
}
PANELS = [(f"{name}: {p['title']}", p) for name, board in BOARDS.items() for p in board["panels"] if p["type"] != "row"]
SOURCE_CODE = "".join(path.read_text() for top in ("pipeline", "jobs") for path in (ROOT / top).rglob("*.py"))

FAMILIES = ((ENFORCE, "enforce"), (NORMALIZE, "normalize"), (DETECT, "detect"), (STORE, "store"), (SHIP, "ship"))
JOBS = {m.name: {job} for family, job in FAMILIES for m in family}
JOBS |= {m.name: {"normalize", "detect"} for m in STREAM} | {"sekimori_rules_loads_total": {"detect"}}
JOBS |= {m.name: {"detect", "enforce", "store"} for m in SIGNED}
# What Prometheus makes itself, and the labels that it adds.
ITS_OWN = {"up": frozenset[str](), "ALERTS": frozenset({"alertname", "alertstate"})}
ADDED = {"job", "instance"}

AGGREGATIONS = "sum|min|max|count"
FUNCTIONS = "absent|changes|histogram_quantile|increase|rate|sort_desc|vector"
WORDS = "and|or|unless|offset"
STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^}]*)\}")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
LABEL_LIST = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
RANGE = re.compile(r"\[(?:\d+[smhdw]|\$__rate_interval)\]")


@dataclass(frozen=True)
class Expression:
    """PromQL, and where it stands."""

    where: str
    text: str
    shown: str
    """Texts that name labels of its result."""

    @property
    def selectors(self) -> list[tuple[str, list[tuple[str, str, str]]]]:
        return [(name, MATCHER.findall(matchers)) for name, matchers in SELECTOR.findall(self.text)]

    @property
    def kept(self) -> set[str]:
        """Labels that it groups by."""
        return {label.strip() for found in LABEL_LIST.findall(self.text) for label in found.split(",") if label.strip()}


def expressions() -> Iterator[Expression]:
    for name, rule in ALERTS.items():
        yield Expression(name, rule["expr"], " ".join(rule["annotations"].values()))
    for name, panel in PANELS:
        for target in panel["targets"]:
            if "expr" in target:
                yield Expression(name, target["expr"], target["legendFormat"])


EXPRESSIONS = list(expressions())


def metric_of(name: str) -> MetricFamily | None:
    for metric in METRICS:
        if name == metric.name and metric.kind != "histogram":
            return metric
        if metric.kind == "histogram" and name in {
            f"{metric.name}{suffix}" for suffix in ("_bucket", "_sum", "_count")
        }:
            return metric
    return None


def labels_of(name: str) -> set[str]:
    metric = metric_of(name)
    if metric is None:
        return ADDED | ITS_OWN[name]
    return ADDED | set(metric.labels) | ({"le"} if name.endswith("_bucket") else set())


def unknown_words(promql: str) -> list[str]:
    """What is left of an expression without all that is known. Raises AssertionError for brackets that do not match."""
    opened: list[str] = []
    pairs = {")": "(", "]": "[", "}": "{"}
    for character in STRING.sub('""', promql):
        if character in pairs.values():
            opened.append(character)
        elif character in pairs:
            assert opened, promql
            assert opened.pop() == pairs[character], promql
    assert not opened, promql
    rest = RANGE.sub("", LABEL_LIST.sub("", SELECTOR.sub("0", promql)))
    rest = re.sub(rf"\b(?:{FUNCTIONS})\b(?=\s*\()", "", rest)
    rest = re.sub(rf"\b(?:{AGGREGATIONS}|{WORDS})\b|\b\d+[smhdw]?\b", "", rest)
    return re.findall(r"[^\s()+\-*/<>=!.,]+", rest)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda e: e.where)
def test_promql_names_what_there_is(expression: Expression) -> None:
    assert unknown_words(expression.text) == []
    assert expression.selectors
    labels: set[str] = set()
    for name, matchers in expression.selectors:
        assert name in ITS_OWN or metric_of(name), name
        labels |= labels_of(name)
        assert {label for label, _, _ in matchers} <= labels_of(name), name
        for label, _, value in matchers:
            if name not in ITS_OWN and label != "job":
                for word in value.split("|"):
                    assert f'"{word}"' in SOURCE_CODE, f'{label}="{word}" is never recorded'
    assert expression.kept <= labels
    named = set(re.findall(r"\$labels\.(\w+)|\{\{(\w+)\}\}", expression.shown))
    assert {a or b for a, b in named} <= (expression.kept or labels)


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=lambda e: e.where)
def test_promql_asks_the_jobs_that_record_the_metric(expression: Expression) -> None:
    """Every process serves every metric: without a job, zeros of others would be taken for its own."""
    for name, matchers in expression.selectors:
        metric = metric_of(name)
        if metric is not None:
            asked = {value for label, _, values in matchers if label == "job" for value in values.split("|")}
            assert asked == JOBS[metric.name], name


def test_wrong_promql_is_seen() -> None:
    assert unknown_words('sum by (job) (rate(up{job="a(b"}[5m])) > 0.5') == []
    assert unknown_words("rte(up{}[5m])") == ["rte"]
    assert unknown_words("sekimori_detect_tallies_total > 0") == ["sekimori_detect_tallies_total"]
    for wrong in ("sum(up{}", "sum(up{}]", "up{})"):
        with pytest.raises(AssertionError):
            unknown_words(wrong)


def test_metrics_are_all_shown() -> None:
    shown = {m.name for e in EXPRESSIONS for name, _ in e.selectors if (m := metric_of(name))}
    assert {metric.name for metric in METRICS} - shown == set()


@pytest.mark.parametrize("name", list(ALERTS))
def test_alerts_wait_and_say_what_to_do(name: str) -> None:
    rule = ALERTS[name]
    assert re.fullmatch(r"Sekimori[A-Z]\w+", name)
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description"}
    assert len(rule["annotations"]["description"]) > 60


@pytest.mark.parametrize("name", list(ALERTS))
def test_alerts_name_their_job(name: str) -> None:
    """Alertmanager groups by it, and leaves out what follows from a job that does not run."""
    rule = ALERTS[name]
    expression = next(e for e in EXPRESSIONS if e.where == name)
    asked = {
        value
        for _, matchers in expression.selectors
        for label, _, values in matchers
        if label == "job"
        for value in values.split("|")
    }
    if "job" in rule["labels"]:
        assert rule["labels"]["job"] in asked
    else:
        assert "job" in expression.kept or re.match(r"up\{|absent\(", rule["expr"])


def test_alertmanager_gets_and_knows_the_alerts() -> None:
    (manager,) = PROMETHEUS["alerting"]["alertmanagers"]
    ((target,),) = (config["targets"] for config in manager["static_configs"])
    service, _, port = target.partition(":")
    assert SERVICES[service]["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert ALERTMANAGER["route"]["group_by"] == ["alertname", "job"]
    assert ALERTMANAGER["route"]["receiver"] in {receiver["name"] for receiver in ALERTMANAGER["receivers"]}
    severities = {rule["labels"]["severity"] for rule in ALERTS.values()}
    for route in ALERTMANAGER["route"]["routes"]:
        assert {matcher.removeprefix("severity = ") for matcher in route["matchers"]} <= severities
    for rule in ALERTMANAGER["inhibit_rules"]:
        (source,) = rule["source_matchers"]
        assert source.removeprefix("alertname = ") in ALERTS
        assert set(rule["equal"]) <= ADDED


def test_alerts_cover_what_can_go_wrong() -> None:
    assert len(ALERTS) == sum(len(group["rules"]) for group in GROUPS)
    watched = {name for alert in ALERTS.values() for name, _ in SELECTOR.findall(alert["expr"])}
    assert {
        "up",
        "sekimori_stream_lag_messages",
        "sekimori_stream_unsaved_messages",
        "sekimori_enforce_table_age_seconds",
        "sekimori_enforce_snapshot_age_seconds",
        "sekimori_normalize_lines_total",
        "sekimori_detect_tallies_total",
        "sekimori_detect_decisions_total",
        "sekimori_detect_dead_letters_total",
        "sekimori_detect_evicted_total",
        "sekimori_rules_loads_total",
        "sekimori_store_up",
        "sekimori_ship_unreadable",
    } <= watched


def test_trials_of_alerts_know_them() -> None:
    """Prometheus' own promtool runs them; here they are only held to the names."""
    trials = "".join(path.read_text() for path in (ROOT / "tests/compose").glob("*.test.yml"))
    tried = set(re.findall(r'alertname="(\w+)"', trials))
    assert tried <= set(ALERTS)
    assert len(tried) > 15


def test_prometheus_asks_every_job_of_ours() -> None:
    asked = {}
    for job in PROMETHEUS["scrape_configs"]:
        (found,) = job["dns_sd_configs"]
        asked[job["job_name"]] = (found["names"], found["port"])
    serving = [name for name, service in SERVICES.items() if "--metrics" in service.get("command", ())]
    assert asked == {name: ([name], 9100) for name in serving}
    assert {"normalize", "detect", "enforce", "store", "ship"} == set(serving)
    for name in PROMETHEUS["rule_files"]:
        assert (COMPOSE / "prometheus" / name).is_file()


def test_grafana_finds_its_sources_and_dashboards() -> None:
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/sekimori.yml").read_text())["providers"]
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["grafana"]["volumes"])
    assert mounts["./compose/grafana/dashboards"] == provider["options"]["path"]
    assert mounts["./compose/grafana/provisioning"] == "/etc/grafana/provisioning"
    prometheus, clickhouse = SOURCES
    assert prometheus["url"] == "http://prometheus:9090"
    assert clickhouse["jsonData"]["host"] in SERVICES
    assert {"setting": "readonly", "value": "2"} in clickhouse["jsonData"]["customSettings"]
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_PLUGINS_PREINSTALL_SYNC"].split("@")[0] == clickhouse["type"]
    server = SERVICES["clickhouse"]["environment"]
    assert clickhouse["secureJsonData"]["password"] == "$CLICKHOUSE_PASSWORD"
    assert environment["CLICKHOUSE_PASSWORD"] == server["CLICKHOUSE_PASSWORD"]
    assert clickhouse["jsonData"]["username"] == server["CLICKHOUSE_USER"]
    assert clickhouse["jsonData"]["defaultDatabase"] == server["CLICKHOUSE_DB"]


def test_the_dashboards_are_there() -> None:
    assert set(BOARDS) == {"pipeline", "abuse", "hooks"}
    assert len({board["uid"] for board in BOARDS.values()} | {board["title"] for board in BOARDS.values()}) == 6


@pytest.mark.parametrize("name", list(BOARDS))
def test_panels_have_places_of_their_own(name: str) -> None:
    panels = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


@pytest.mark.parametrize(("name", "panel"), PANELS, ids=[name for name, _ in PANELS])
def test_panels_have_title_unit_and_source(name: str, panel: dict[str, Any]) -> None:
    assert panel["title"].strip(), name
    assert panel["fieldConfig"]["defaults"]["unit"]
    # What attackers write is shown as text.
    assert panel["type"] in ("stat", "timeseries", "table")
    assert "html" not in json.dumps(panel).lower()
    assert panel["targets"]
    assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    for target in panel["targets"]:
        uid = target["datasource"]["uid"]
        assert KINDS[uid] == target["datasource"]["type"]
        assert target["datasource"] == panel["datasource"]
        assert ("expr" in target) == (KINDS[uid] == "prometheus") != ("rawSql" in target)


SQL = [(name, panel, t["rawSql"]) for name, panel in PANELS for t in panel["targets"] if "rawSql" in t]


def expanded(sql: str, since: datetime, until: datetime) -> str:
    """As the ClickHouse data source replaces its macros, for panels that show 5 minutes as one point."""
    start, end = (f"toDateTime({int(at.timestamp())})" for at in (since, until))
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {start} AND \1 <= {end}", sql)
    sql = re.sub(r"\$__timeInterval\((\w+)\)", r"toStartOfInterval(toDateTime(\1), INTERVAL 300 second)", sql)
    sql = sql.replace("$__fromTime", start).replace("$__toTime", end)
    assert "$" not in sql
    return sql


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RowStore]:
    from pipeline.adapters.stores.analysis import fill_with_sample  # slow to import
    from pipeline.adapters.stores.chdb_store import ChdbStore

    with ChdbStore(tmp_path_factory.mktemp("chdb")) as store:
        fill_with_sample(store, 1)
        store.execute(
            "INSERT INTO dead_letters SELECT 'maillog-0', 1, 0, 'no queue id', '<b>raw</b>', min(time), 1 FROM events"
        )
        yield store


@pytest.fixture(scope="module")
def span(sample: RowStore) -> tuple[datetime, datetime]:
    """From the first event to the last restriction."""
    found = sample.query("SELECT min(time) AS a FROM events")["a"][0].to_pydatetime()
    return found, sample.query("SELECT max(issued_at) AS b FROM decisions")["b"][0].to_pydatetime()


@pytest.mark.parametrize(("name", "panel", "sql"), SQL, ids=[name for name, _, _ in SQL])
def test_sql_runs_and_shows_the_sample(
    name: str, panel: dict[str, Any], sql: str, sample: RowStore, span: tuple[datetime, datetime]
) -> None:
    now_held = "LEFT JOIN" in sql
    found = sample.query(expanded(sql, span[0], span[1] + timedelta(days=0 if now_held else 1)))
    overridden = {o["matcher"]["options"] for o in panel["fieldConfig"]["overrides"]}
    assert overridden <= set(found.columns)
    assert len(found), name
    if panel["type"] == "timeseries":
        assert isinstance(found["time"].dtype, pd.DatetimeTZDtype) or found["time"].dtype.kind == "M"
        assert found["time"].is_monotonic_increasing
        numbers = [c for c in found.columns if found[c].dtype.kind in "iuf"]
        assert found[numbers].to_numpy().sum() > 0


def test_restrictions_are_shown_while_they_hold(sample: RowStore, span: tuple[datetime, datetime]) -> None:
    statements = {name: sql for name, _, sql in SQL}

    def at(moment: datetime) -> pd.DataFrame:
        return sample.query(expanded(statements["abuse: Restrictions, newest first"], span[0], moment))

    def accounts(moment: datetime) -> int:
        return int(sample.query(expanded(statements["abuse: Accounts"], span[0], moment))["subjects"][0])

    release = sample.query("SELECT min(time) AS t FROM releases")["t"][0].to_pydatetime()
    last = sample.query("SELECT max(time) AS t FROM releases")["t"][0].to_pydatetime()
    assert not len(at(span[0]))
    before = at(release - timedelta(seconds=1))
    assert (before["until"] > release.astimezone(UTC)).all()
    of_accounts = before[before["kind"].str.startswith("account") & (before["mode"] == "enforce")]
    assert accounts(release - timedelta(seconds=1)) == of_accounts["subject"].nunique() > 0
    assert accounts(last) < accounts(release - timedelta(seconds=1))
    assert not len(at(span[1] + timedelta(days=365)))
