"""A backtest as one HTML page that needs nothing else: no script, no network, charts inside it.

Names and reasons come from logs, so whoever writes those can write anything: the template escapes all of it, and
charts show rules and times only.
"""

import io
from importlib import resources

import jinja2
import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.trials.comparison import ChangedDecision, Comparison
from pipeline.trials.wording import brake_note, pair_text, side_rows
from schemas.enforcement import Decision

LIMIT = 1000  # rows of a table
BASELINE, NEW = "#0072B2", "#D55E00"  # told apart by everybody (Okabe and Ito)


def page(it: Comparison) -> str:
    """The page."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string(
        (resources.files("pipeline.adapters.trials") / "backtest.html").read_text("utf-8")
    )
    return template.render(it=it, rows=side_rows(it), brake=brake_note(it), charts=_charts(it), limit=LIMIT, pair=_pair)


def _pair(changed: ChangedDecision, name: str) -> str:
    return pair_text(changed.before, changed.after, name)


def _charts(it: Comparison) -> list[tuple[str, Markup]]:
    """Title and SVG of each."""
    if not any(it.decisions):
        return []
    with mpl.rc_context(
        {"svg.fonttype": "none", "font.family": "sans-serif", "svg.hashsalt": "sekimori", "date.converter": "concise"}
    ):
        rules, times = _by_rule(it), _by_time(it)
    return [("Decisions by rule", rules), ("Decisions over time", times)]


def _by_rule(it: Comparison) -> Markup:
    before, after = it.baseline.by_rule, it.new.by_rule
    found = before.keys() | after.keys()  # from the bottom up, so that they stand as in the table
    rules = sorted(found, key=lambda rule: (-before.get(rule, 0) - after.get(rule, 0), rule), reverse=True)
    figure = Figure(figsize=(9, 1.2 + 0.45 * len(rules)), layout="constrained")
    axes = figure.subplots()
    for offset, colour, name, counts in ((0.2, BASELINE, "baseline", before), (-0.2, NEW, "new rules", after)):
        places = [place + offset for place in range(len(rules))]
        bars = axes.barh(places, [counts.get(rule, 0) for rule in rules], 0.38, color=colour, label=name)
        axes.bar_label(bars, padding=3)
    axes.set_yticks(range(len(rules)), rules)
    axes.set(title="Enforced decisions by rule", xlabel="decisions", ylabel="rule")
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _by_time(it: Comparison) -> Markup:
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    for colour, style, name, decisions in (
        (BASELINE, "-", "baseline", it.decisions[0]),
        (NEW, "--", "new rules", it.decisions[1]),
    ):
        times = [d.issued_at for d in decisions if _counts(d)]
        axes.step(times, range(1, len(times) + 1), where="post", color=colour, linestyle=style, label=name)  # type: ignore[arg-type]  # dates are taken as well
    axes.set(title="Enforced decisions so far", xlabel="time (UTC)", ylabel="decisions")
    axes.legend(loc="upper left", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _svg(figure)


def _counts(decision: Decision) -> bool:
    return decision.mode == "enforce"


def _svg(figure: Figure) -> Markup:
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return Markup(text[text.index("<svg") :])  # noqa: S704  # made by matplotlib, of rules, numbers and times
