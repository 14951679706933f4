from datetime import UTC, datetime

import pytest

from pipeline.normalize.enrich import Enricher
from schemas.event import Event

AT = datetime(2026, 11, 24, tzinfo=UTC)


def enriched(event: Event, country: str = "BR") -> Event:
    Enricher(lambda _: country).enrich([(event, "")])
    return event


@pytest.mark.parametrize(
    ("service", "method", "channel"),
    [
        ("submission", None, "smtp"),
        ("smtps", "PLAIN", "smtp"),
        ("smtp", "PLAIN", "smtp"),
        ("webmail", None, "webmail"),
        ("imap", "PLAIN", "access"),
        ("pop3", "PLAIN", "access"),
        (None, None, "access"),
    ],
)
def test_the_channel(service: str | None, method: str | None, channel: str) -> None:
    event = Event("auth_success", AT, "mx", "qmgr", service, client_ip="198.51.100.7", method=method)
    assert enriched(event).channel == channel


def test_a_submission_is_never_access() -> None:
    assert enriched(Event("submission", AT, "mx", "courierd", client_ip="198.51.100.7")).channel == "smtp"


@pytest.mark.parametrize(("address", "network"), [("198.51.100.7", "198.51.100.7"), ("2001:db8::26", "2001:db8::/64")])
def test_country_and_network(address: str, network: str) -> None:
    event = enriched(Event("auth_failure", AT, "mx", "auth", client_ip=address))
    assert (event.country, event.network) == ("BR", network)


def test_what_has_no_address_stays_as_it_is() -> None:
    event = enriched(Event("delivery", AT, "mx", "smtp"))
    assert (event.country, event.network, event.channel) == (None, None, None)


def test_addresses_are_looked_up_once_until_the_file_changes_and_memory_is_bounded() -> None:
    asked: list[str] = []
    enricher = Enricher(lambda address: asked.append(address) or "JP", limit=3)

    def see(*addresses: str) -> list[str]:
        asked.clear()
        enricher.enrich((Event("auth_failure", AT, "mx", "auth", client_ip=address), "") for address in addresses)
        return list(asked)

    one, two, three, four = (f"198.51.100.{n}" for n in range(4))
    assert see(one, two, one, three) == [one, two, three]
    assert see(one, two, three) == []
    assert see(four) == [four]
    assert see(one) == [one]
    enricher.forget()
    assert see(one) == [one]
