"""What decisions do to mail and logins, by hand-computed figures."""

from datetime import timedelta
from typing import Any

from pipeline.trials.backtest import TallyFrame
from pipeline.trials.cases import Case
from pipeline.trials.effects import Effect, Effects, measure
from schemas.enforcement import Decision
from schemas.tally import Tally
from tests.support.decisions import AT, NOW, decision


def mail(account: str, peer: str, *times: float, messages: int = 1) -> list[Tally]:
    return [Tally("account", account, peer, "RU", NOW + t, messages, messages, successes=messages) for t in times]


def login(account: str, peer: str, *times: float) -> list[Tally]:
    return [Tally("account", account, peer, "RU", NOW + t, successes=1) for t in times]


def measured(tallies: list[Tally], *decisions: Decision, cases: tuple[Case, ...] = (), since: float = 0.0) -> Effects:
    frame = TallyFrame(0, list(range(len(tallies))), tallies)
    (found,) = measure([frame], [decisions], cases, since)
    return found


def test_left_before_and_stopped_after() -> None:
    one = decision("a", seconds=100)
    found = measured(mail("a", "192.0.2.1", -90_000, -60, 0, 1, 50, 99, 100, 200), one)
    assert found.decisions == {one.id: Effect(left=2, messages=3)}
    assert found.accounts == {"a": Effect(messages=3)}
    assert found.messages == 8


def test_a_network_takes_the_mail_of_all_who_come_from_there() -> None:
    one = decision("192.0.2.1", "ip", action="deny_login", scope="both")
    tallies = mail("a", "192.0.2.1", 5) + mail("b", "192.0.2.1", 5, messages=3) + mail("b", "192.0.2.2", 5)
    found = measured(tallies + login("c", "192.0.2.1", 5), one)
    assert found.decisions[one.id] == Effect(messages=4, logins=1)
    assert found.accounts == {"a": Effect(messages=1), "b": Effect(messages=3), "c": Effect(logins=1)}


def test_what_two_stop_is_lost_once() -> None:
    both = decision("a"), decision("192.0.2.1", "ip"), decision("RU", "country")
    found = measured(mail("a", "192.0.2.1", 5), *both)
    assert [found.decisions[d.id].messages for d in both] == [1, 1, 1]
    assert found.accounts == {"a": Effect(messages=1)}


def test_known_sources_are_spared() -> None:
    guarded: dict[str, Any] = {
        "action": "deny_login",
        "scope": "login",
        "parameters": {"except_sources": ["192.0.2.1"]},
    }
    one = decision("a", **guarded)
    found = measured(login("a", "192.0.2.1", 5) + login("a", "192.0.2.9", 5), one)
    assert found.decisions[one.id] == Effect(logins=1)


def test_shadow_and_notices_take_nothing_from_accounts() -> None:
    shadow, notice = decision("a", mode="shadow"), decision("a", action="notify", rule="foreign_senders")
    found = measured(mail("a", "192.0.2.1", 5), shadow, notice)
    assert (found.decisions[shadow.id].messages, found.decisions[notice.id].messages) == (1, 0)
    assert found.accounts == {}


def test_an_account_called_like_an_address_is_no_address() -> None:
    one = decision("192.0.2.1")
    found = measured(mail("a", "192.0.2.1", 5) + mail("192.0.2.1", "192.0.2.8", 5), one)
    assert found.accounts == {"192.0.2.1": Effect(messages=1)}


def test_leaked_from_the_start_of_the_abuse_to_the_first_block() -> None:
    cases = (Case("a", "abused", NOW - 50), Case("b", "abused", NOW - 50, NOW + 10), Case("c", "honest"))
    sent = [tally for name in "abc" for tally in mail(name, "192.0.2.1", -60, -50, -10, 0, 5, 20)]
    again = decision("a", issued_at=AT + timedelta(hours=3))
    found = measured(sent, again, decision("a"), cases=cases)
    assert found.leaked == {"a": 3, "b": 4}


def test_before_the_start_of_the_report_nothing_is_stopped() -> None:
    one = decision("a")
    found = measured(mail("a", "192.0.2.1", -5, 5, 50), one, since=NOW + 10)
    assert found.decisions[one.id] == Effect(left=1, messages=1)
    assert found.messages == 1


def test_partitions_add_up() -> None:
    one = decision("192.0.2.1", "ip")
    total = Effects()
    for account in ("a", "b"):
        total.add(measured(mail(account, "192.0.2.1", -5, 5), one, cases=(Case("a", "abused"),)))
    assert total.decisions == {one.id: Effect(left=2, messages=2)}
    assert (total.accounts, total.leaked) == ({"a": Effect(messages=1), "b": Effect(messages=1)}, {"a": 2})
