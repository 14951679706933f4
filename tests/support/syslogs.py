"""Real syslog daemons that ship to Kafka, as the documentation says, on loopback: rsyslog and syslog-ng."""

import os
import re
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Self

from tests.support.paths import ROOT
from tests.support.servers import free_port

UNPACKED = ROOT / "var/tests/syslog"
PAGE = (ROOT / "docs/shippers.md").read_text()


def of_page(heading: str) -> str:
    """The example under a heading of docs/shippers.md."""
    found = re.search(rf"^## {re.escape(heading)}.*?^```\n(.*?)^```", PAGE, re.M | re.S)
    assert found is not None, heading
    return found[1]


class Rsyslog:
    """rsyslogd that listens on a port of its own. ``action``: what is done with the lines."""

    def __init__(self, folder: Path, action: str) -> None:
        self.port = free_port()
        config = folder / "rsyslog.conf"
        config.write_text(
            f'global(workDirectory="{folder}")\nmodule(load="imtcp")\n'
            f'input(type="imtcp" address="127.0.0.1" port="{self.port}")\n{action}'
        )
        modules = next(UNPACKED.glob("usr/lib/*/rsyslog"))
        command = [UNPACKED / "usr/sbin/rsyslogd", "-n", "-f", config, "-i", folder / "pid", "-M", modules]
        self._start(command, folder)

    def _start(self, command: list[object], folder: Path, **env: str) -> None:
        self.log = folder / "daemon.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                list(map(str, command)), env=os.environ | env, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )

    def listens(self) -> bool:
        """Does it?"""
        assert self.process.poll() is None, self.log.read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def send(self, lines: Iterable[str]) -> None:
        """As a mail server's syslog does it; 22 is mail.info."""
        with socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            connection.sendall("".join(f"<22>{line}\n" for line in lines).encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class SyslogNg(Rsyslog):
    """The same with syslog-ng. ``action``: a destination."""

    def __init__(self, folder: Path, action: str) -> None:
        self.port = free_port()
        config = folder / "syslog-ng.conf"
        name = re.search(r"destination (\w+)", action)
        assert name is not None
        config.write_text(
            "@version: 3.35\noptions { keep-hostname(yes); };\n"
            f'source s_net {{ network(ip("127.0.0.1") port({self.port})); }};\n{action}\n'
            f"log {{ source(s_net); destination({name[1]}); }};\n"
        )
        places = [f"--{name}={folder / name}" for name in ("persist-file", "pidfile", "control")]
        libraries = UNPACKED / "usr/lib/syslog-ng"
        modules = f"--module-path={next(libraries.glob('[0-9]*'))}"
        command = [UNPACKED / "usr/sbin/syslog-ng", "-F", "-f", config, *places, modules]
        self._start(command, folder, LD_LIBRARY_PATH=str(libraries))
