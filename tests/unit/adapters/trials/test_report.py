"""What people see of a backtest: hostile names stay names, whatever page or terminal shows them."""

import json
import re
from html.parser import HTMLParser

import pytest

from pipeline.adapters.trials.report import page
from pipeline.cli.backtest import as_data
from pipeline.cli.terminal import safe
from pipeline.rules import RULES
from pipeline.trials.cases import Case
from pipeline.trials.comparison import Comparison, Tried, put_side_by_side
from pipeline.trials.effects import Effect, Effects
from pipeline.trials.wording import pair_text, side_rows
from tests.support.decisions import decision

HOSTILE = (
    "<script>alert(1)</script>@x.example",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% for %}",
    "$\\frac{$ [bold red]x[/] &amp; </svg>",
    "\x1b]0;owned\x07\x1b[2J@x.example",
    "山田\N{RIGHT-TO-LEFT OVERRIDE}@x.example",
)
ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "table", "tr", "th", "td", "figure"),
    *("svg", "metadata", "rdf:rdf", "cc:work", "dc:type", "dc:format", "dc:creator", "cc:agent", "dc:title"),
    *("defs", "g", "path", "use", "text", "clippath", "rect"),
}


class Reader(HTMLParser):
    """Elements, attributes and text as a browser finds them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes.update(name for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def compared(*subjects: str, cases: tuple[Case, ...] = ()) -> Comparison:
    new = [decision(subject) for subject in subjects]
    old = [decision("kept@x.example")]
    accounts = {subject: Effect(messages=2) for subject in subjects}
    after = Effects({d.id: Effect(3, 2, 0) for d in new}, accounts, messages=9)
    before, after_all = Tried(old), Tried([*old, *new], after, 12)
    return put_side_by_side(("old.toml", "<i>new.toml"), before, after_all, cases, 345)


def read(it: Comparison) -> Reader:
    reader = Reader()
    reader.feed(page(it))
    return reader


def test_hostile_names_are_text_on_the_page() -> None:
    found = read(compared(*HOSTILE))
    assert found.elements <= ELEMENTS
    assert not {name for name in found.attributes if name.startswith("on") or name == "src"}
    for name in HOSTILE:
        assert name in found.text
    assert "<i>new.toml" in found.text


def test_the_page_needs_nothing_else_and_says_what_differs() -> None:
    text = page(compared("a@x.example"))
    assert text.count("<svg") == 2
    for outside in ('src="http', 'href="http', "url(http", "@import", "<script", "<link"):
        assert outside not in text
    assert "1 added" in text
    for label in ("Enforced decisions by rule", "time (UTC)", "decisions"):
        assert label in text


def test_bars_stand_in_the_order_of_the_table_also_where_figures_are_the_same() -> None:
    rules = [rule.id for rule in RULES]
    tried = Tried([decision("a@x.example", rule=rule) for rule in rules])
    text = page(put_side_by_side(("a.toml", "b.toml"), tried, tried, (), 0))
    bars = re.findall(r"<text[^>]*>([a-z_]+)</text>", text)
    assert [name for name in reversed(bars) if name in rules] == sorted(rules)


def test_without_any_difference_or_decision_there_is_still_a_page() -> None:
    found = read(put_side_by_side(("a.toml", "b.toml"), Tried(), Tried(), (), 0))
    assert "No decision" in found.text
    assert "svg" not in found.elements


@pytest.mark.parametrize("name", HOSTILE)
def test_terminals_are_not_driven(name: str) -> None:
    shown = safe(name)
    assert shown.plain.isprintable()
    assert not shown.spans
    assert len(shown.plain) == len(name)


def test_turns_of_accounts() -> None:
    cases = Case("spam@x.example", "abused"), Case("good@x.example", "honest")
    it = compared("spam@x.example", "good@x.example", "who@x.example", cases=cases)
    assert {c.account: (c.label, c.turn) for c in it.accounts} == {
        "spam@x.example": ("abused", "caught"),
        "good@x.example": ("honest", "hurt"),
        "who@x.example": ("unknown", "hurt"),
    }


def test_turns_the_other_way_round() -> None:
    tried = Tried([decision("spam"), decision("good")])
    it = put_side_by_side(("a", "b"), tried, Tried(), (Case("spam", "abused"),), 0)
    assert {c.account: c.turn for c in it.accounts} == {"spam": "lost", "good": "helped"}
    assert it.counts() == {"removed": 2}


def test_rows_of_known_cases() -> None:
    rows = {
        name: (before, after) for name, before, after in side_rows(compared("s", cases=(Case("s", "abused", 0.0),)))
    }
    assert rows["known accounts: abused that are found"] == ("0 of 1", "1 of 1")
    assert rows["known accounts: recall"] == ("0.000", "1.000")
    assert rows["known accounts: precision"] == ("-", "1.000")
    assert rows["messages stopped"] == ("0", "2")


def test_json_holds_it_all() -> None:
    data = json.loads(json.dumps(as_data(compared("a@x.example"))))
    (change,) = data["changes"]
    assert (change["kind"], change["before"], change["after"]["subject"]) == ("added", None, "a@x.example")
    assert change["effects"] == {"before": None, "after": {"left": 3, "messages": 2, "logins": 0}}
    assert data["accounts"][0]["turn"] == "hurt"
    assert (data["lines"], data["new"]["by_rule"]) == (345, {"account_send_rate": 2})


def test_pairs_of_figures() -> None:
    one, two = Effect(left=1), Effect(left=2)
    assert [pair_text(*pair, "left") for pair in ((one, two), (one, one), (None, two), (one, None))] == [
        "1 → 2",
        "1",
        "2",
        "1",
    ]
