"""``sekimori decisions`` on real brokers: what an operator types and what the topics hold after it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from pipeline.adapters.demo.broker import EmbeddedBroker, free_port
from pipeline.adapters.kafka.client import KafkaLog
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.cli.decisions import decisions
from pipeline.detect.brake import held
from pipeline.enforce.terms import restriction_of
from schemas.codec import decode_decision, decode_setting, encode
from tests.support.decisions import decision, table

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


# --- what would mislead ---------------------------------------------------------------------------------------------

EMBEDDED = pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
FOR = ("--for", "2h", "--note", "x")


@EMBEDDED
@pytest.mark.parametrize(
    ("subject", "kind", "logins", "mails"),
    [
        ("203.0.113.7", "ip", True, True),
        ("203.0.113.0/24", "prefix", True, True),
        ("RU", "country", True, True),
        ("alice@example.org|203.0.113.7", "account_ip", True, True),
        ("alice@example.org", "account", False, True),
    ],
)
def test_a_block_stops_what_is_meant(
    run: Run, fresh_broker: EmbeddedBroker, subject: str, kind: str, logins: bool, mails: bool
) -> None:
    """Whoever blocks where somebody comes from wants no logins from there either."""
    said = run("block", subject, *FOR).output
    (made,) = map(decode_decision, state(fresh_broker).values())
    agent = table(made)
    client = {"account": "alice@example.org", "address": "203.0.113.7", "country_of": lambda _: "RU"}
    now = datetime.now(UTC).timestamp()
    assert (agent.lookup("login", now, **client) is not None) == logins == ("dovecot: logins are refused" in said)
    assert (agent.lookup("send", now, **client) is not None) == mails == ("postfix: mail is refused" in said)
    assert (made.subject_kind, "SEKIMORI_GEOIP" in said) == (kind, kind == "country")


@EMBEDDED
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["block", "@example.org", *FOR], "no patterns, nor whole domains"),
        (["block", "*@example.org", *FOR], "no patterns, nor whole domains"),
        (["block", "news*", "--kind", "account", *FOR], "no patterns"),
        (["block", "*@example.org|203.0.113.7", *FOR], "no patterns"),
        (["block", "ZZ", *FOR], "no ISO 3166 code"),
        (["block", "xx", "--kind", "country", *FOR], "no ISO 3166 code"),
        (["allow", "*@example.org", "--note", "x"], "no patterns"),
        (["allow", "EU", "--note", "x"], "no ISO 3166 code"),
        (["block", "a@x", "--action", "hold", "--scope", "login", *FOR], "give --scope send"),
        (["block", "203.0.113.7", "--action", "notify", *FOR], "it would restrict nobody"),
        (["block", "0.0.0.0/0", *FOR], "give --yes"),
        (["block", "::/0", *FOR], "give --yes"),
        (["block", "0.0.0.0/1", *FOR], "2,147,483,648 addresses"),
        (["allow", "0.0.0.0/0", "--note", "x"], "give --yes"),
        (["block", "JP", *FOR], "own country"),
        (["block", "127.0.0.1", *FOR], "our own 127.0.0.0/8"),
        (["block", "::1", *FOR], "our own ::1/128"),
    ],
)
def test_what_would_do_nothing_or_too_much_is_refused(
    run: Run, fresh_broker: EmbeddedBroker, monkeypatch: pytest.MonkeyPatch, arguments: list[str], says: str
) -> None:
    monkeypatch.delenv("SEKIMORI_HOME", raising=False)
    monkeypatch.delenv("SEKIMORI_RULES", raising=False)
    assert says in run(*arguments, code=2).output.replace("\n", " ")
    assert state(fresh_broker) == state(fresh_broker, "settings") == {}
    if "--yes" in says or "own" in says:
        run(*arguments, "--yes")
        assert state(fresh_broker) | state(fresh_broker, "settings")


@EMBEDDED
def test_own_networks_are_those_of_the_rules_and_the_country_that_of_the_settings(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[trusted]\nwebmail = ["198.51.100.99"]')
    monkeypatch.setenv("SEKIMORI_RULES", str(rules))
    monkeypatch.setenv("SEKIMORI_HOME", "DE")
    assert "our own 198.51.100.99" in run("block", "198.51.100.0/24", *FOR, code=2).output.replace("\n", " ")
    assert "own country" in run("block", "DE", *FOR, code=2).output
    assert "(65,536 addresses)" in run("block", "203.0.0.0/16", *FOR).output
    run("block", "JP", *FOR)


@EMBEDDED
def test_no_decision_of_an_operator_is_replaced_in_silence(run: Run, fresh_broker: EmbeddedBroker) -> None:
    run("block", "203.0.113.7", "--for", "2h", "--note", "scanner", "--actor", "hana")
    before = state(fresh_broker)
    refused = run("block", "203.0.113.7", "--for", "9h", "--action", "defer", "--note", "me too", code=2).output
    assert all(word in refused.replace("\n", " ") for word in ("hana", "scanner", "deny_login", "--replace"))
    assert state(fresh_broker) == before
    run("block", "203.0.113.7", "--for", "9h", "--action", "defer", "--note", "me too", "--replace")
    assert decode_decision(*state(fresh_broker).values()).action == "defer"


@EMBEDDED
def test_a_release_tells_what_restricts_all_the_same(run: Run) -> None:
    run("block", "203.0.113.0/24", *FOR)
    run("block", "203.0.113.7", *FOR)
    for code, output in ((0, "203.0.113.7 is still restricted"), (1, "no decision is about 203.0.113.7 itself")):
        said = run("release", "203.0.113.7", "--note", "a customer", code=code).output
        assert output in said
        assert "sekimori decisions release '203.0.113.0/24'" in said
    run("release", "203.0.113.0/24", "--note", "a customer")
    assert "nothing restricts" in run("release", "203.0.113.7", "--note", "a customer", code=1).output


@EMBEDDED
def test_a_filter_that_matches_nothing_is_no_good_news(run: Run) -> None:
    assert run("list").output == "Nothing is restricted.\n"
    assert "there is no such rule, rules are success_after_failures, " in run("list", "--rule", "nosuchrule").output
    run("block", "alice@example.org", *FOR)
    said = run("list", "--account", "alice", "--rule", "ip_accused").output
    assert said == "No decision matches --account alice --rule ip_accused. There is 1 other in force.\n"
    assert run("list", "--rule", "manual").exit_code == 0


@EMBEDDED
def test_what_is_allowed_is_shown_as_not_in_force(run: Run) -> None:
    assert "nothing" in run("allowlist").output
    run("block", "203.0.113.7", *FOR)
    assert "not in force" not in run("list").output
    run("allow", "203.0.113.0/24", "--note", "city hall", "--for", "7d")
    assert "allowed: not in force" in run("list").stdout
    shown = run("allowlist").stdout
    assert all(word in shown for word in ("203.0.113.0/24", "city hall", "operator:"))
    assert decode_setting(run("allowlist", "--json").stdout.encode()).subject == "203.0.113.0/24"
    assert "203.0.113.0/24 is allowed" in run("block", "203.0.113.9", *FOR).output


@EMBEDDED
def test_a_decision_is_found_by_the_id_that_a_client_was_told(run: Run, fresh_broker: EmbeddedBroker) -> None:
    run("block", "alice@example.org", *FOR)
    made = decode_decision(*state(fresh_broker).values())
    for told in (made.id, restriction_of(made).text[-9:-1]):
        assert json.loads(run("show", told, "--json").stdout)["decision"][0]["subject"] == "alice@example.org"
    assert "no decision has an id that begins with" in run("show", "0" * 8, code=1).output
    run("release", made.id[:8], "--note", "it was a mistake")
    assert state(fresh_broker) == {}


@EMBEDDED
def test_every_command_of_the_group_speaks_json(run: Run) -> None:
    assert decode_decision(run("block", "alice@example.org", *FOR, "--json").stdout.encode()).subject
    lifted = json.loads(run("release", "alice@example.org", "--note", "x", "--json").stdout)
    assert lifted == {"lifted": ["account:manual:alice@example.org"], "left": []}
    assert decode_setting(run("allow", "bob@example.org", "--note", "x", "--json").stdout.encode()).note == "x"
    assert json.loads(run("disallow", "bob@example.org", "--note", "x", "--json").stdout)["lifted"]
    context = click.Context(decisions)
    for name in decisions.list_commands(context):  # type: ignore[attr-defined]  # it is a group
        command = decisions.get_command(context, name)  # type: ignore[attr-defined]
        assert "--json" in {option for parameter in command.params for option in parameter.opts}, name


@EMBEDDED
def test_what_the_brake_holds_is_let_go_by_one_command(run: Run, fresh_broker: EmbeddedBroker) -> None:
    now = datetime.now(UTC)
    waiting = [held(decision(f"{name}@example.org", issued_at=now)) for name in ("alice", "bob")]
    others = [decision("carol@example.org", issued_at=now, mode="shadow"), held(decision("old@example.org"))]
    with KafkaOutbox(fresh_broker.bootstrap) as outbox:
        for one in (*waiting, *others):
            outbox.send("enforcement", one.key.encode(), encode(one))
        outbox.flush()
    assert run("list").stdout.count("held by the brake") == 2
    assert "holds nothing of rule ip_accused" in run("let-go", "--rule", "ip_accused", "--note", "x", code=1).output
    run("let-go", "--rule", "account_send_rate", "--note", "they are stolen", "--actor", "hana")
    after = {key: decode_decision(value) for key, value in state(fresh_broker).items()}
    assert [after[d.key].mode for d in (*waiting, *others)] == ["enforce", "enforce", "shadow", "shadow"]
    assert after[waiting[0].key].parameters == {}
    assert "let go by hana: they are stolen" in after[waiting[0].key].actor
