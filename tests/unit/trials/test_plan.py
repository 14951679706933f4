"""What rule sets share, and how results find back to them."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from pipeline.networks import OurHosts
from pipeline.rules.config import load
from pipeline.trials.plan import PARTITIONS, Plan, StoredEvents

FILE = load(None)


@given(st.lists(st.sampled_from(("", "192.0.2.1", "192.0.2.2")), min_size=1, max_size=5))
def test_rule_sets_that_trust_the_same_hosts_share_what_is_counted(trusted: list[str]) -> None:
    rules = tuple(replace(FILE, trusted=OurHosts(hosts=[host] if host else [])) for host in trusted)
    plan = Plan(StoredEvents(str(Path("analysis"))), rules, "JP")
    assert [trusted[leader] for leader in plan.leaders] == list(dict.fromkeys(trusted))
    assert plan.portions == [(leader, n) for leader in plan.leaders for n in range(PARTITIONS)]
    assert all({trusted[n] for n in plan.group(number)} == {host} for number, host in enumerate(trusted))
    found = [[(n, partition) for n in plan.group(leader)] for leader, partition in plan.portions]
    wanted = [[(number, partition) for partition in range(PARTITIONS)] for number in range(len(trusted))]
    assert plan.by_rule_set(found) == wanted
