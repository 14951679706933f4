"""``sekimori decisions`` on real brokers: what an operator types and what the topics hold after it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pipeline.adapters.demo.broker import EmbeddedBroker, free_port
from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.cli.decisions import decisions
from pipeline.enforce.terms import restriction_of
from schemas.codec import decode_decision, decode_setting, encode
from tests.support.decisions import decision

Run = Callable[..., Result]
pytestmark = pytest.mark.servers


@pytest.fixture
def run(fresh_broker: EmbeddedBroker) -> Run:
    def call(*arguments: str, code: int = 0) -> Result:
        result = CliRunner().invoke(
            decisions, ["--brokers", fresh_broker.bootstrap, *arguments], catch_exceptions=False
        )
        assert result.exit_code == code, result.output
        return result

    return call


def state(broker: EmbeddedBroker, topic: str = "enforcement") -> dict[str, bytes]:
    return {key.decode(): value for key, value in KafkaLog(broker.bootstrap).state(topic).items()}


def test_block_show_release(run: Run, fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "hana")
    told = run("block", "Alice@Example.org", "--for", "2h", "--note", "phoned: password stolen").output
    assert told.startswith("alice@example.org: reject (send) until 20")
    made = decode_decision(state(fresh_broker)["account:manual:alice@example.org"])
    assert (made.action, made.scope, made.mode, made.actor, made.reason) == (
        "reject",
        "send",
        "enforce",
        "operator:hana",
        "phoned: password stolen",
    )
    assert made.expires_at - made.issued_at == timedelta(hours=2)
    assert abs((made.issued_at - datetime.now(UTC)).total_seconds()) < 60
    assert "phoned: password stolen" in run("show", "alice@example.org").output
    run("release", "alice@example.org", "--note", "changed the password", "--actor", "desk:ken")
    assert state(fresh_broker) == {}
    shown = json.loads(run("show", "alice@example.org", "--json").stdout)
    assert (shown["decision"], shown["allow"]) == ([], [])
    lift = shown["lifted"][0]
    assert (lift["key"], lift["actor"], lift["note"]) == (made.key, "desk:ken", "changed the password")
    assert datetime.fromisoformat(lift["at"]).tzinfo is not None
    assert "nothing restricts" in run("release", "alice@example.org", "--note", "again", code=1).output


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_list_filters_and_shows_for_people_and_machines(run: Run, fresh_broker: EmbeddedBroker) -> None:
    now = datetime.now(UTC)
    given = [
        decision("alice@example.org", issued_at=now, reason="\x1b[2Jhostile\n"),
        decision("alice@example.org", rule="guessing", issued_at=now - timedelta(seconds=1), mode="shadow"),
        decision("alice@example.org|198.51.100.7", "account_ip", rule="guessing", issued_at=now - timedelta(seconds=2)),
        decision("2001:db8:0:1::/64", "ip", rule="ip_errors", issued_at=now - timedelta(seconds=3)),
        decision("198.51.100.0/24", "prefix", rule="manual", issued_at=now - timedelta(seconds=4)),
        decision("old@example.org", issued_at=now - timedelta(days=9)),
    ]
    with KafkaOutbox(fresh_broker.bootstrap) as outbox:
        for one in given:
            outbox.send("enforcement", one.key.encode(), encode(one))
        outbox.send("enforcement", b"account:x:y", b"\xff")
        outbox.flush()

    def listed(*options: str) -> list[str]:
        lines = run("list", "--json", *options).stdout.splitlines()
        return [decode_decision(line.encode()).key for line in lines]

    keys = [one.key for one in given]
    assert listed() == keys[4::-1]
    assert listed("--all") == keys[::-1]
    assert listed("--account", "ALICE@example.org") == keys[2::-1]
    assert listed("--ip", "198.51.100.7") == [keys[4], keys[2]]
    assert listed("--ip", "2001:db8:0:1::99") == [keys[3]]
    assert listed("--rule", "guessing", "--mode", "shadow") == [keys[1]]
    assert listed("--rule", "guessing", "--mode", "enforce") == [keys[2]]
    result = run("list")
    assert "\x1b" not in result.stdout
    assert "hostile" in result.stdout
    assert "reject (shadow)" in result.stdout
    assert "account:x:y cannot be read" in result.stderr
    run("release", "2001:db8:0:1::99", "--note", "the address of a customer")
    assert listed("--ip", "2001:db8:0:1::99") == []
    run("release", "alice@example.org", "--rule", "guessing", "--note", "phone with an old password")
    assert listed("--account", "alice@example.org") == [keys[2], keys[0]]


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_allow_and_disallow(run: Run, fresh_broker: EmbeddedBroker) -> None:
    run("allow", "198.51.100.99/24", "--note", "city hall", "--for", "7d")
    made = decode_setting(state(fresh_broker, "settings")["allow:prefix:198.51.100.0/24"])
    assert made.expires_at is not None
    assert (made.note, made.expires_at - made.issued_at) == ("city hall", timedelta(days=7))
    assert "city hall" in run("show", "198.51.100.7").output
    assert "not on the allowlist" in run("disallow", "198.51.100.7", "--note", "moved", code=1).output
    run("disallow", "198.51.100.0/24", "--note", "moved")
    assert state(fresh_broker, "settings") == {}


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["RU", "--action", "limit", "--parameter", "messages=5", "--parameter", "window=60"], {"messages": 5}),
        (["2001:db8::/48", "--action", "deny_login"], {"scope": "login"}),
        (["bob@example.org", "--action", "route", "--parameter", "pool=slow"], {"pool": "slow"}),
        (
            [
                "info",
                "--kind",
                "account",
                "--action",
                "deny_login",
                "--parameter",
                "except_sources=192.0.2.1,192.0.2.2",
            ],
            {"except_sources": ("192.0.2.1", "192.0.2.2")},
        ),
    ],
)
def test_what_is_blocked_can_be_obeyed(
    run: Run, fresh_broker: EmbeddedBroker, arguments: list[str], wanted: dict[str, Any]
) -> None:
    run("block", *arguments, "--for", "30m", "--note", "tested")
    terms = restriction_of(decode_decision(*state(fresh_broker).values())).terms
    assert {name: getattr(terms, name) for name in wanted} == wanted


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["block", "alice", "--for", "2h", "--note", "x"], "--kind account"),
        (["block", "a@x", "--for", "2", "--note", "x"], "no length of time such as 30m"),
        (["block", "a@x", "--for", "99999d", "--note", "x"], "at most 10 years"),
        (["block", "a@x", "--for", "2h"], "--note"),
        (["block", "a@x", "--note", "x"], "--for"),
        (["block", "a@x", "--for", "2h", "--note", "x", "--action", "route"], "pool"),
        (["block", "a@x", "--for", "2h", "--note", "x", "--parameter", "pool"], "NAME=VALUE"),
        (["block", "*", "--for", "2h", "--note", "x"], "no account"),
        (["list", "--ip", "nowhere"], "no IP address"),
        (["--brokers", "nowhere", "list"], "host:port"),
        (["--brokers", f"127.0.0.1:{free_port()}", "list"], "does not answer"),
        (["--brokers", f"127.0.0.1:{free_port()}", "block", "a@x", "--for", "2h", "--note", "x"], "does not answer"),
    ],
)
def test_what_cannot_be_done_is_said_clearly_and_ends_with_2(arguments: list[str], says: str) -> None:
    result = CliRunner().invoke(decisions, arguments, catch_exceptions=False)
    assert result.exit_code == 2
    assert says in result.output.replace("\n", " ")
