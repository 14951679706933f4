"""Real daemons from end to end: what Postfix and Dovecot themselves tell the clients."""

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.clients import LOGINS, Mail, Reply, Submitter, imap_login, pop3_login, smtp_login, submit
from tests.support.cluster import decisions
from tests.support.mailservers import DOMAIN, MailServers
from tests.support.places import ABROAD, HOME, Addresses
from tests.support.stack import Stack

STOLEN, ATTACKED, HONEST = (f"{name}@{DOMAIN}" for name in ("victim01", "bftarget", "normal01"))
WARM_UP = tuple(f"member{n:02}@{DOMAIN}" for n in range(1, 21))
EPISODES = 20
ALLOWED_SECONDS = 2.0


def test_the_stolen_account_and_the_guesser_are_refused_and_nobody_else(stack: Stack) -> None:
    servers, addresses = stack.servers, Addresses()
    home, owner, guesser = addresses.new(HOME), addresses.new(HOME), addresses.new("RU")
    spammer = addresses.new("IN")
    crowd = [addresses.new(country) for country in ("BR", "CN", "IN")]

    def honest_people_get_through() -> None:
        assert submit(servers, home, HONEST).ok
        assert imap_login(servers, home, HONEST).ok
        assert imap_login(servers, owner, ATTACKED).ok

    honest_people_get_through()
    with Submitter(servers, spammer) as session:
        assert session.login(STOLEN).ok
        for country in ABROAD[:4]:
            assert submit(servers, addresses.new(country), STOLEN).ok
        refused = Reply(True, "")

        def is_refused() -> bool:
            nonlocal refused
            refused = session.send(Mail(STOLEN))
            return not refused.ok

        stack.until(is_refused, "Postfix refuses the stolen account")
    assert refused.text.startswith("554 5.7.1 "), refused
    assert decisions(stack.bootstrap)[f"account:account_many_origins:{STOLEN}"].reason in refused.text
    stack.until(lambda: not smtp_login(servers, spammer, STOLEN).ok, "Dovecot refuses the spammer's next login")
    honest_people_get_through()

    _guess(servers, [guesser] * 30)  # up to eight within seconds are the mistake of a person
    stack.until(lambda: f"ip:ip_password_errors:{guesser}" in decisions(stack.bootstrap), "the guesser is known")
    why = decisions(stack.bootstrap)[f"ip:ip_password_errors:{guesser}"]
    stack.until(lambda: not smtp_login(servers, guesser, HONEST).ok, "Dovecot refuses the guesser the right password")
    for login, words in ((smtp_login, "535 5.7.8"), (imap_login, "NO [ALERT]"), (pop3_login, "-ERR [AUTH]")):
        answer = login(servers, guesser, ATTACKED)
        assert not answer.ok
        assert answer.text.startswith(words)
        assert why.reason in answer.text
    honest_people_get_through()
    _guess(servers, crowd * 16)
    stack.until(lambda: f"account:account_password_errors:{ATTACKED}" in decisions(stack.bootstrap), "it is attacked")
    stranger = addresses.new("BR")
    stack.until(lambda: not imap_login(servers, stranger, ATTACKED).ok, "no stranger can log in to it")
    honest_people_get_through()
    assert submit(servers, owner, ATTACKED).ok


def _guess(servers: MailServers, sources: list[str]) -> None:
    """Wrong passwords for the attacked account by SMTP, IMAP and POP3, at the same time."""
    tries = [(LOGINS[n % 3], source, f"guess{n}") for n, source in enumerate(sources)]
    with ThreadPoolExecutor(12) as pool:
        replies = list(pool.map(lambda t: t[0](servers, t[1], ATTACKED, t[2]), tries))
    assert not any(reply.ok for reply in replies)


def test_from_the_mail_that_crosses_the_threshold_to_the_refusal(
    stack: Stack, capsys: pytest.CaptureFixture[str]
) -> None:
    addresses = Addresses()
    stack.warm_up(WARM_UP, addresses)
    took = sorted(_episodes(stack, addresses))
    p95 = statistics.quantiles(took, n=20, method="inclusive")[-1]
    with capsys.disabled():
        figures = f"p50 {statistics.median(took):.2f}  p95 {p95:.2f}  max {took[-1]:.2f}"
        print(f"\nseconds until Postfix refuses, {EPISODES} stolen accounts: min {took[0]:.2f}  {figures}")
    assert p95 < ALLOWED_SECONDS, took


def _episodes(stack: Stack, addresses: Addresses) -> Iterator[float]:
    """Seconds from the 250 of the fourth country's mail to the first refusal of one who keeps trying."""
    for n in range(EPISODES):
        account = f"stolen{n:02}@{DOMAIN}"
        with Submitter(stack.servers, addresses.new("DE")) as session:
            assert session.login(account).ok
            for country in ABROAD[:4]:
                assert submit(stack.servers, addresses.new(country), account).ok
            crossed = time.monotonic()
            stack.until(lambda: not session.send(Mail(account)).ok, f"{account} is refused")  # noqa: B023
            yield time.monotonic() - crossed
