"""Conditions and choices that several rules share."""

from pipeline.rules.config import RuleConfig
from pipeline.rules.view import HOUR, METRICS, View
from pipeline.windows import ERROR, SEEN, SLOT

RECENT = 3600  # seconds
DAY = 86400
LEARNING = 6 * HOUR  # a usual level means something after that much history


def total(metric: str, view: View, window: int) -> int:
    """A metric's count over all countries."""
    return METRICS[metric].count(view, view.window(METRICS[metric].kind, window))


def misusing(view: View) -> set[bytes]:
    """Networks that used the account within the last hour, but for the owner's."""
    return {e[3] for e in view.window(SEEN, RECENT) if not view.is_owners(e[3])}


def guessing(view: View) -> set[bytes]:
    """Networks with password errors within the last hour that the account was never used from."""
    return {e[3] for e in view.window(ERROR, RECENT)} - view.seen.keys()


def above_usual(metric: str, view: View, window: int, config: RuleConfig) -> bool:
    """Is the count more than ``config.times`` what is usual in such a window, over the last day but this window?

    Never while the subject has less than six hours of history.
    """
    if view.history < max(LEARNING, 2 * window // SLOT):
        return False
    now = total(metric, view, window)
    before = total(metric, view, DAY) - now
    spans = max(1.0, (view.history * SLOT - window) / window)
    return now > config.times * before / spans
