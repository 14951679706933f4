"""The commands of docs/security.md, in their order, and its account of what a signature covers."""

import base64
import os
import re
import shlex
import subprocess
import tomllib
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from pipeline.adapters.kafka.security.signing import Signer
from pipeline.metrics import METRICS
from schemas.topics import TOPICS
from tests.support.pages import blocks_of
from tests.support.paths import ROOT
from tests.support.servers import sekimori
from tests.test_dashboards import ALERTS

PAGE = (ROOT / "docs/security.md").read_text(encoding="utf-8")


def test_its_commands_make_keys_that_are_trusted(tmp_path: Path) -> None:
    wrapper = tmp_path / "sekimori"
    wrapper.write_text("#!/bin/sh\nexec " + shlex.join(sekimori()) + ' "$@"\n')
    wrapper.chmod(0o755)
    env = {k: v for k, v in os.environ.items() if not k.startswith("SEKIMORI_")}
    env |= {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    blocks = blocks_of("security.md")["Signed decisions and settings"]
    lines = [line for language, text in blocks if language == "console" for line in text.splitlines()]
    commands = [line.removeprefix("$ ") for line in lines]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "detect-2026: trusted as detect",
        "hana-2026: trusted as operator",
        "hana-2026 signs here, and is obeyed as operator.",
    ]
    check_by_hand(tmp_path)


def check_by_hand(folder: Path) -> None:
    """As the page tells authors of other agents to do it."""
    told = tomllib.loads((folder / "trusted.toml").read_text())["hana-2026"]["public"]
    headers = [("note", "誤検知".encode()), ("actor", b"operator:hana")]
    for value, mark in ((b"{}", b"+{}"), (None, b"-")):
        signed = dict(Signer.read(folder / "hana-2026.pem")("settings", b"allow:ip:192.0.2.7", value, headers))
        name, _, signature = signed.pop("signature").partition(b" ")
        assert name == b"hana-2026"
        pieces = [b"sekimori 1", b"settings", b"allow:ip:192.0.2.7", mark]
        for header, content in sorted(signed.items()):
            pieces += [header.encode(), content]
        over = b"".join(str(len(piece)).encode() + b":" + piece for piece in pieces)
        Ed25519PublicKey.from_public_bytes(base64.b64decode(told)).verify(base64.b64decode(signature), over)


def test_it_speaks_of_every_topic_and_of_what_there_is() -> None:
    for topic in TOPICS:
        assert f"`{topic.name}`" in PAGE or topic.name.endswith("-state"), topic.name
    assert set(re.findall(r"`(sekimori_\w+)`", PAGE)) <= {metric.name for metric in METRICS}
    assert set(re.findall(r"`(Sekimori\w+)`", PAGE)) <= ALERTS.keys()
