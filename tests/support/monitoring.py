"""A real Prometheus and Alertmanager with the project's configuration, on free ports of the loopback interface."""

import json
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, Self

import yaml

from pipeline.adapters.demo.broker import Child, free_port
from tests.support.servers import ROOT

PROMETHEUS = ROOT / "compose/prometheus/prometheus.yml"
ALERTS = ROOT / "compose/prometheus/alerts.yml"
ALERTMANAGER = ROOT / "compose/alertmanager/alertmanager.yml"
BLOCK = re.compile(r"^    # (  - .+|    \w+: .+|\w+_configs:)$", re.MULTILINE)


def tool(*names: str) -> str:
    """The path of a program that has one of these names."""
    for name in names:
        found = shutil.which(name)
        if found:
            return found
    raise RuntimeError(f"there is no {names[0]}; run tests/install-servers.sh as root, or install it")


def with_receivers() -> dict[str, Any]:
    """Alertmanager's configuration as of an operator who took the marks off every block of its receivers."""
    return dict(yaml.safe_load(BLOCK.sub(r"    \1", ALERTMANAGER.read_text())))


class _Server:
    """Answers HTTP while it runs; its data in ``folder``."""

    start_seconds = 90.0

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.folder = folder
        self.log = folder / "server.log"
        folder.mkdir(parents=True, exist_ok=True)
        self.config = folder / "config.yml"
        self.config.write_text(yaml.safe_dump(dict(config)))
        self._child: Child | None = None

    def command(self) -> list[str]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._child = Child(self.command(), self.log)
        deadline = time.monotonic() + self.start_seconds
        while not self._ready():
            if time.monotonic() > deadline or not self._child.alive():
                self.__exit__()
                raise RuntimeError(f"{self.command()[0]} did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=5):
                return True
        except OSError:
            return False

    def get(self, path: str, **query: str) -> Any:
        """JSON from the HTTP API; its JSON too where it refuses."""
        url = f"http://{self.address}{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)


class Prometheus(_Server):
    """With the project's configuration and rules, but for where the jobs are and how long everything waits."""

    def __init__(self, folder: Path, targets: Mapping[str, Sequence[int]], alertmanager: str) -> None:
        """``targets``: job -> ports where its processes serve their metrics."""
        config = yaml.safe_load(PROMETHEUS.read_text())
        config["global"] |= {"scrape_interval": "300ms", "scrape_timeout": "300ms", "evaluation_interval": "300ms"}
        config["rule_files"] = [str(folder / ALERTS.name)]
        config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [alertmanager]}]}]
        for job in config["scrape_configs"]:
            del job["dns_sd_configs"]
            job["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in targets[job["job_name"]]]}]
        super().__init__(folder, config)
        hasty = re.sub(r"^(\s+for:) \d+[mh]$", r"\1 1s", ALERTS.read_text(), flags=re.MULTILINE)
        (folder / ALERTS.name).write_text(hasty)

    def command(self) -> list[str]:
        files = [f"--config.file={self.config}", f"--storage.tsdb.path={self.folder / 'data'}"]
        return [tool("prometheus"), *files, f"--web.listen-address={self.address}", "--log.level=warn"]

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The instant vector that it gives now. Fails if Prometheus does not take it."""
        answer = self.get("/api/v1/query", query=promql)
        assert answer["status"] == "success", f"{promql}: {answer['error']}"
        return list(answer["data"]["result"])

    def firing(self) -> list[dict[str, str]]:
        """The labels of each alert that fires."""
        alerts = self.get("/api/v1/alerts")["data"]["alerts"]
        return [alert["labels"] for alert in alerts if alert["state"] == "firing"]


class Alertmanager(_Server):
    """With the project's configuration and its webhook, but for where that leads and how long everything waits."""

    def __init__(self, folder: Path, webhook: str) -> None:
        config = with_receivers()
        config["route"] |= {"group_wait": "100ms", "group_interval": "300ms"}
        (receiver,) = config["receivers"]
        del receiver["email_configs"]
        (hook,) = receiver["webhook_configs"]
        hook["url"] = webhook
        super().__init__(folder, config)

    def command(self) -> list[str]:
        files = [f"--config.file={self.config}", f"--storage.path={self.folder / 'data'}"]
        alone = ["--cluster.listen-address=", "--log.level=warn"]
        return [tool("prometheus-alertmanager", "alertmanager"), *files, f"--web.listen-address={self.address}", *alone]

    def post(self, *alerts: Mapping[str, str]) -> None:
        """Alerts with these labels, as Prometheus sends them."""
        body = json.dumps([{"labels": labels} for labels in alerts]).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}/api/v2/alerts", body, headers)
        with urllib.request.urlopen(request, timeout=10):
            pass

    def states(self, **labels: str) -> dict[str, str]:
        """Name of each alert that has these labels -> active or suppressed."""
        alerts = self.get("/api/v2/alerts")
        matching = [a for a in alerts if labels.items() <= a["labels"].items()]
        return {alert["labels"]["alertname"]: alert["status"]["state"] for alert in matching}


class Listener:
    """What an operator's webhook is told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        told = self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="listener")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def alerts(self, name: str, status: str, **labels: str) -> list[dict[str, Any]]:
        """What was told of this alert in this state (firing, resolved)."""
        every = [alert for message in self.told for alert in message["alerts"]]
        wanted = labels | {"alertname": name}
        return [a for a in every if a["status"] == status and wanted.items() <= a["labels"].items()]
