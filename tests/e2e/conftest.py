"""Real mail servers and the whole pipeline, for each test anew."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import scenario
from tests.support.mailservers import MailServers, missing
from tests.support.servers import EmbeddedBroker
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def mail_daemons() -> None:
    """Fails where Postfix and Dovecot cannot run."""
    why = missing()
    if why:
        pytest.fail(f"real mail servers cannot run here: {why}. Run `make test` as root, it installs them.")


@pytest.fixture
def mail_servers(mail_daemons: None) -> Iterator[MailServers]:
    """Postfix and Dovecot with the accounts of the scenario."""
    with MailServers(scenario.ACCOUNTS) as servers:
        yield servers


@pytest.fixture
def stack(fresh_broker: EmbeddedBroker, mail_servers: MailServers, tmp_path: Path) -> Iterator[Stack]:
    """The pipeline between the servers' logs and their questions."""
    with Stack(fresh_broker, mail_servers, tmp_path) as running:
        yield running
