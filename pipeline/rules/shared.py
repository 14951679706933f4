"""Conditions and choices that several rules share."""

from pipeline.rules.config import RuleConfig
from pipeline.windows.layout import ERROR, NEVER, SLOT
from pipeline.windows.metrics import METRICS
from pipeline.windows.view import HOUR, View, leaves
from schemas.times import DAY

RECENT = 3600  # seconds
LEARNING = 6 * HOUR  # a usual level means something after that much history


def total(metric: str, view: View, window: int) -> int:
    """A metric's count over all countries."""
    return METRICS[metric].within(view, window)


def room_of_share(part: str, whole: str, view: View, window: int, share: float) -> tuple[float, int]:
    """Where the ``part`` is less than its share of the ``whole``, both metrics that are sums: half of what is lacking
    must be added, or as much of the whole leave the window, before it can be otherwise. See ``Rule.room``."""
    measure = METRICS[whole]
    within = view.window(measure.entries, window)
    lacking = share * total(whole, view, window) - total(part, view, window)
    left = lacking / 2 / share
    for entry in within:
        left -= measure.counts(view, [entry])
        if left <= 0:
            return lacking / 2, leaves(entry[0], window)
    return lacking / 2, NEVER


def misuses(view: View, peer: bytes) -> bool:
    """Did the network use the account within the last hour (and since ``view.since``), and is not the owner's?"""
    entry = view.seen.get(peer)
    return entry is not None and entry[0] > max(view.end - RECENT // SLOT, view.since) and not view.is_owners(peer)


def guesses(view: View, peer: bytes) -> bool:
    """Did the network make password errors within the last hour, and was the account never used from it?"""
    return peer not in view.seen and any(e[3] == peer for e in view.window(ERROR, RECENT))


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
