"""Parts fail while real mail servers ask: mail flows, and what is known holds."""

import pytest

from pipeline.adapters.demo.broker import EmbeddedBroker
from tests.support.clients import Mail, Submitter, imap_login, submit
from tests.support.mailservers import DOMAIN
from tests.support.places import ABROAD, HOME, Addresses
from tests.support.stack import Stack

TABLE_AGE = "sekimori_enforce_table_age_seconds"
STOLEN, HONEST = f"victim01@{DOMAIN}", f"normal01@{DOMAIN}"


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_mail_flows_and_known_blocks_hold_while_parts_fail(stack: Stack, fresh_broker: EmbeddedBroker) -> None:
    servers, addresses = stack.servers, Addresses()
    home, thief = addresses.new(HOME), addresses.new("DE")
    with Submitter(servers, home) as honest, Submitter(servers, thief) as thieving:
        assert honest.login(HONEST).ok
        assert thieving.login(STOLEN).ok
        for country in ABROAD[:4]:
            assert submit(servers, addresses.new(country), STOLEN).ok
        stack.until(lambda: not thieving.send(Mail(STOLEN)).ok, "Postfix refuses the stolen account")
        assert honest.send(Mail(HONEST)).ok

        def honest_mail_flows() -> None:
            assert honest.send(Mail(HONEST)).ok  # over the policy connection that this smtpd has held all the time
            assert submit(servers, home, HONEST).ok
            assert imap_login(servers, home, HONEST).ok

        stack.jobs["enforce"].kill()
        honest_mail_flows()
        stack.start_enforce()
        assert not thieving.send(Mail(STOLEN)).ok
        honest_mail_flows()

        fresh_broker.kill()
        for seconds in (3, 5):
            stack.until(lambda: stack.metric("enforce", TABLE_AGE) > seconds, "the table gets old")  # noqa: B023
            assert not thieving.send(Mail(STOLEN)).ok
            honest_mail_flows()

        assert stack.jobs["enforce"].stop() == 0
        honest_mail_flows()
        assert thieving.send(Mail(STOLEN)).ok  # without an agent all mail flows

        stack.start_enforce(ready=False)
        stack.until(lambda: stack.health("enforce").get("decisions", 0) > 0, "the snapshot is loaded")
        assert not thieving.send(Mail(STOLEN)).ok
        honest_mail_flows()
