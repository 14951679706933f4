"""A whole scenario on real servers with enforcement on: who was stopped, and who was not."""

from pathlib import Path

import pytest

from tests.support.cluster import decisions
from tests.support.mailservers import DOMAIN
from tests.support.places import Addresses
from tests.support.scenario import STOLEN, Done, Scenario
from tests.support.stack import Stack

SECONDS = 60.0
LEAK = 40  # messages
LAST = 10  # tries of each abuser, the right password among them
MUST_PASS = {("office", "login"): 24, ("office", "mail"): 16, ("stale", "login"): 2, ("stale", "mail"): 2}
REFUSED_BY_US = "(limit "  # in every reason


@pytest.mark.parametrize("fresh_broker", ["embedded"], indirect=True)
def test_abuse_is_stopped_and_honest_people_notice_nothing(
    stack: Stack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack.warm_up((f"member{n:02}@{DOMAIN}" for n in range(21, 41)), Addresses(seed=99))
    scenario = Scenario(stack.servers, SECONDS)
    scenario.play()
    scenario.write(tmp_path / "events.jsonl")

    harmed = [done for done in scenario.of(label="honest") if not done.ok]
    assert not harmed
    passed = {(actor, what): len(scenario.of(actor=actor, what=what, ok=True)) for actor, what in MUST_PASS}
    assert passed == MUST_PASS
    out = {account: len(scenario.of(label="abusive", what="mail", account=account, ok=True)) for account in STOLEN}
    with capsys.disabled():
        print(f"\nmessages that left: {', '.join(f'{account} {n}' for account, n in out.items())}")
    assert max(out.values()) <= LEAK, out
    assert out[f"spoof02@{DOMAIN}"] == 0

    for account in (f"{name}@{DOMAIN}" for name in ("victim01", "web01", "spoof01")):
        assert _refused(scenario.of(label="abusive", what="mail", account=account)[-LAST:])
    for actor in ("brute-force", "reverse", "takeover"):
        assert _refused(scenario.of(actor=actor, what="login")[-LAST:])
    assert [done.ok for done in scenario.of(actor="distributed-right")] == [False]
    restricted = {d.subject for d in decisions(stack.bootstrap).values() if d.action != "notify"}
    assert not restricted & {done.address for done in scenario.of(label="honest")}


def _refused(tries: list[Done]) -> bool:
    return len(tries) == LAST and all(not done.ok and REFUSED_BY_US in done.reply for done in tries)
