"""Mail that a decision routes leaves through the pool: from other addresses, and the events say so."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pipeline.cli.decisions import decisions
from schemas.codec import decode_events
from schemas.event import Event
from tests.support import scenario
from tests.support.clients import Mail, submit
from tests.support.cluster import count_records
from tests.support.mailservers import DOMAIN, SLOW_ADDRESS, MailServers
from tests.support.outside import UNKNOWN, Outside
from tests.support.places import HOME, Addresses
from tests.support.servers import EmbeddedBroker
from tests.support.stack import Stack

STOLEN, HONEST = (f"{name}@{DOMAIN}" for name in ("victim01", "normal01"))
MAIN_ADDRESS = "127.0.0.1"


@pytest.fixture
def outside() -> Iterator[Outside]:
    with Outside() as running:
        yield running


@pytest.fixture
def mail_servers(mail_daemons: None, outside: Outside) -> Iterator[MailServers]:
    with MailServers(scenario.ACCOUNTS, outside.address) as servers:
        yield servers


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_mail_that_a_decision_routes_leaves_through_the_pool(
    stack: Stack, outside: Outside, fresh_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    addresses = Addresses()
    homes = {account: addresses.new(HOME) for account in (STOLEN, HONEST)}
    sent: dict[str, str] = {}

    def source_of(account: str) -> str:
        """Sends a message, and waits for it to arrive outside; the address that it came from."""
        subject = f"message {len(sent)}"
        mail = Mail(account, (f"{UNKNOWN}@dest.example", "friend@dest.example", "colleague@other.example"), subject)
        reply = submit(stack.servers, homes[account], account, mail)
        assert reply.ok, reply
        stack.until(lambda: len(outside.of(subject)) == 2, f"{subject} arrives")
        sources = {arrived.client for arrived in outside.of(subject)}
        assert len(sources) == 1
        sent[reply.queue_id] = account
        return sources.pop()

    assert (source_of(STOLEN), source_of(HONEST)) == (MAIN_ADDRESS, MAIN_ADDRESS)
    operate(fresh_broker, "block", STOLEN, "--for=1h", "--action=route", "--parameter=pool=slow", "--note=probation")
    stack.until(lambda: source_of(STOLEN) == SLOW_ADDRESS, "mail of the account leaves through the pool")
    assert (source_of(STOLEN), source_of(HONEST)) == (SLOW_ADDRESS, MAIN_ADDRESS)
    operate(fresh_broker, "release", STOLEN, "--note=password changed")
    stack.until(lambda: source_of(STOLEN) == MAIN_ADDRESS, "its mail leaves as before")

    def deliveries() -> list[Event]:
        found = [e for value in count_records(stack.bootstrap, "events") for e in decode_events(value)]
        return [event for event in found if event.kind == "delivery" and event.queue_id in sent]

    stack.until(lambda: len(deliveries()) == 3 * len(sent), "all deliveries are told")
    slow = [event for event in deliveries() if event.pool == "slow"]
    assert len(slow) >= 6
    assert {event.account for event in slow} == {STOLEN}
    assert {event.status for event in slow} == {"sent", "bounced"}
    assert {event.pool for event in deliveries()} == {None, "slow"}
    assert {event.account for event in deliveries()} == {STOLEN, HONEST}
    for event in deliveries():
        assert (event.account, event.client_ip) == (sent[event.queue_id or ""], homes[event.account or ""])


def operate(broker: EmbeddedBroker, *arguments: str) -> None:
    done = CliRunner().invoke(decisions, ["--brokers", broker.bootstrap, *arguments, "--actor=operator:hana"])
    assert done.exit_code == 0, done.output
