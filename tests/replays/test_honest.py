"""Trouble of honest people that operators told of: nobody is refused for it, and who does harm in the same way is.

The logs are in the forms that the servers write; ``two-stores.log`` was written by a real Dovecot 2.3.
"""

import gzip
from pathlib import Path

import pytest

from pipeline.adapters.geoip import GeoFile
from pipeline.replay import LogFrame, Replay
from pipeline.rules import build
from pipeline.rules.config import load
from schemas.enforcement import Decision
from tests.support.paths import RECORDED

HONEST = Path(__file__).parent / "honest"
REFERENCE = 1_796_083_200.0  # 2026-12-01


def content(name: str) -> bytes:
    raw = (HONEST / name).read_bytes()
    return gzip.decompress(raw) if name.endswith(".gz") else raw


def decided(lines: bytes) -> list[Decision]:
    flow = Replay(build(load(None), "JP"), lookup=GeoFile(RECORDED / "geo.mmdb"))
    return [d for _, found in flow.run([("mail.log", [LogFrame("mail.log", lines, REFERENCE)])]) for d in found]


@pytest.mark.parametrize("name", ["two-stores.log", "directory-down.log.gz", "old-passwords.log.gz"])
def test_nobody_is_restricted(name: str) -> None:
    assert decided(content(name)) == []


def test_a_container_networks_gateway_is_asked_about() -> None:
    (found,) = decided(content("gateway.log.gz"))
    assert (found.subject, found.action) == ("172.18.0.1", "notify")
    assert "[trusted]" in found.reason


def test_guesses_at_two_stores_are_found() -> None:
    """The same refusals, and none of the logins."""
    refused = [line for line in content("two-stores.log").splitlines() if b"Login:" not in line]
    times = [f"Nov 26 17:{10 + n // 30:02}:{2 * n % 60:02}".encode() for n in range(60)]
    lines = [time + refused[n % len(refused)][15:].replace(b"<X", f"<{n:02}".encode()) for n, time in enumerate(times)]
    assert {(d.rule, d.subject) for d in decided(b"\n".join(lines))} >= {("ip_password_errors", "198.18.176.7")}


def test_guesses_while_the_directory_answers_are_found() -> None:
    lines = [line for line in content("directory-down.log.gz").splitlines() if b"LDAP" not in line]
    assert {d.subject for d in decided(b"\n".join(lines))} >= {"198.18.0.30"}


def test_a_stranger_behind_no_gateway_is_denied() -> None:
    found = decided(content("gateway.log.gz").replace(b"172.18.0.1]", b"198.18.112.9]"))
    assert {(d.subject, d.action) for d in found} >= {("198.18.112.9", "deny_login")}
