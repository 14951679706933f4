"""The figures of ``docs/attack-bounds.md`` are today's, and every rule has some."""

from pipeline.rules import RULES
from tests.support.attacks import ATTACKS, table
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "attack-bounds.md").read_text(encoding="utf-8")


def test_the_table_is_what_the_rules_do_today() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("|")]
    assert rows == table().splitlines()


def test_every_rule_has_an_attack_and_says_what_it_can_do() -> None:
    assert {attack.rule for attack in ATTACKS} == {rule.id for rule in RULES}
    assert [rule.id for rule in RULES if not (rule.misuse.endswith(".") and rule.hurts.endswith("."))] == []
