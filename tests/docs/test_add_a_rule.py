"""The page on adding a rule, followed to the letter in a copy: without, and with a metric of its own."""

from pathlib import Path

import pytest

from tests.support.pages import Checkout, blocks_of, check_out

BLOCKS = blocks_of("add-a-rule.md")
OWN = "With a metric of its own"
RULES, TABLES, METRICS = "pipeline/rules/__init__.py", "pipeline/rules/default.toml", "pipeline/windows/metrics.py"
TESTS = ("tests/unit/rules", "tests/unit/windows", "tests/unit/detect", "tests/test_architecture.py")


def block(heading: str, number: int = 0) -> str:
    (found,) = [blocks for name, blocks in BLOCKS.items() if heading in name]
    return found[number][1]


def add(copy: Checkout, name: str, rule: str, examples: str, entry: str, table: str) -> None:
    """Two files, one entry, one table."""
    copy.write(f"pipeline/rules/{name}.py", rule)
    copy.write(f"pipeline/rules/{name}.txt", examples)
    copy.add_entry(RULES, "RULES", entry, name)
    copy.append(TABLES, table)


@pytest.fixture
def copy(tmp_path: Path) -> Checkout:
    return check_out(tmp_path)


def test_the_page_is_followed_to_the_letter(copy: Checkout) -> None:
    parts = [block(f"`{name}`") for name in (
        "pipeline/rules/ip_failed_recipients.py", "pipeline/rules/ip_failed_recipients.txt", "RULES", TABLES,
    )]  # fmt: skip
    add(copy, "ip_failed_recipients", *parts)
    copy.check(*TESTS)
    assert "ip_failed_recipients" in copy.run("-m", "pipeline.cli", "rules", "list")


def test_with_a_metric_of_its_own_there_is_one_entry_more(copy: Checkout) -> None:
    add(copy, "account_guessed_worldwide", *(block(OWN, number) for number in range(4)))
    copy.add_entry(METRICS, "METRICS", block(OWN, 4), "")
    copy.check(*TESTS)


def test_a_metric_of_the_wrong_unit_does_not_pass(copy: Checkout) -> None:
    """The page says so."""
    add(copy, "account_guessed_worldwide", *(block(OWN, number) for number in range(4)))
    copy.add_entry(METRICS, "METRICS", block(OWN, 4).replace("Unit.FAILING_SOURCE", "Unit.MESSAGE"), "")
    with pytest.raises(AssertionError, match="test_the_margin_never_changes_a_decision"):
        copy.run("-m", "pytest", "tests/unit/detect/test_judge.py")
