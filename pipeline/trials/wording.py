"""Figures of a backtest in words: the same rows in the terminal and on the page."""

from pipeline.detect.brake import WAITS, HeldOfRule, WouldHold, counted_on
from pipeline.trials.cases import Score
from pipeline.trials.comparison import Comparison, Side
from pipeline.trials.effects import Effect

Row = tuple[str, str, str]


def side_rows(it: Comparison) -> list[Row]:
    """(what, of the baseline, of the new rules)."""
    sides = it.baseline, it.new
    rows = [_row("decisions", *(sum(side.by_rule.values()) for side in sides))]
    rows += _by_rule("  ", it.baseline.by_rule, it.new.by_rule)
    if it.baseline.shadow or it.new.shadow:
        rows.append(_row("shadow decisions", *(sum(side.shadow.values()) for side in sides)))
        rows += _by_rule("  ", it.baseline.shadow, it.new.shadow)
    rows += _held(it.baseline.would_hold, it.new.would_hold)
    rows.append(_row("accounts stopped from sending", *(side.stopped for side in sides)))
    rows.append(_row("messages stopped", *(side.messages for side in sides)))
    rows.append(_row("logins stopped", *(side.logins for side in sides)))
    for name in ("accounts", "addresses"):
        rows += _scores(name, it.baseline, it.new)
    return rows


def _row(name: str, before: int, after: int) -> Row:
    return name, f"{before:,}", f"{after:,}"


def _by_rule(indent: str, before: dict[str, int], after: dict[str, int]) -> list[Row]:
    rules = sorted(before.keys() | after.keys(), key=lambda rule: (-before.get(rule, 0) - after.get(rule, 0), rule))
    return [_row(indent + rule, before.get(rule, 0), after.get(rule, 0)) for rule in rules]


def _held(before: WouldHold, after: WouldHold) -> list[Row]:
    if not (before.rules or after.rules):
        return []
    by_rule = [{of.rule: of for of in would.rules} for would in (before, after)]
    rows = [_row("the brake would hold", before.decisions, after.decisions)]
    for rule in sorted(by_rule[0].keys() | by_rule[1].keys()):
        found = [of.get(rule) for of in by_rule]
        rows.append((f"  {rule}", _held_of(found[0]), _held_of(found[1])))
    return [*rows, ("  all would pass with", _passing(before), _passing(after))]


def _held_of(of: HeldOfRule | None) -> str:
    if of is None:
        return "0"
    plural = "s" if of.subjects > 1 else ""
    return f"{of.decisions:,} ({of.subjects:,} subject{plural}, first {of.first:%m-%d %H:%M:%S})"


def _passing(would: WouldHold) -> str:
    return "-" if would.hourly is None else f"hourly = {would.hourly}"


def brake_note(it: Comparison) -> str:
    """A sentence about what the brake would hold; empty if it would hold nothing."""
    would = it.new.would_hold
    if not (would.rules or it.baseline.would_hold.rules):
        return ""
    return f"The brake holds nothing in a backtest. It counted {counted_on(would)}; {WAITS}."


def _scores(name: str, baseline: Side, new: Side) -> list[Row]:
    before = baseline.accounts if name == "accounts" else baseline.addresses
    after = new.accounts if name == "accounts" else new.addresses
    if before is None or after is None:
        return []
    of_before, of_after = _score(before, name), _score(after, name)
    return [(f"known {name}: {what}", of_before[what], of_after[what]) for what in of_before]


def _score(score: Score, name: str) -> dict[str, str]:
    found = {
        "abused that are found": f"{score.found} of {score.abused}",
        "honest that are hurt": f"{len(score.hurt)} of {score.honest}",
        "precision": _share(score.precision),
        "recall": _share(score.recall),
        "time to detection, median": _time(score.median),
        "time to detection, p90": _time(score.p90),
    }
    if name == "accounts":
        found["messages leaked before the block"] = f"{score.leaked:,}"
    return found


def _share(share: float | None) -> str:
    return "-" if share is None else f"{share:.3f}"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.0f} s" if seconds < 600 else f"{seconds / 60:.0f} min" if seconds < 7200 else _hours(seconds)


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h"


def pair_text(before: Effect | None, after: Effect | None, name: str) -> str:
    """A figure of a decision: ``12``, or ``12 → 7`` where the baseline has it, too."""
    values = [str(getattr(effect, name)) for effect in (before, after) if effect is not None]
    return " → ".join(values if len(set(values)) > 1 else values[:1])
