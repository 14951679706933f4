"""A guess that hit."""

from pipeline.rules.config import RuleConfig
from pipeline.rules.rule import Rule
from pipeline.rules.shared import misuses
from pipeline.windows.view import View


def succeeded(view: View, window: int, config: RuleConfig) -> bool:
    """Did the peer succeed now, after its errors?"""
    entry = view.seen.get(view.peer)
    return view.succeeded and entry is not None and entry[0] >= view.end - 3


RULE = Rule(
    id="success_after_failures",
    version=1,
    kinds=("account",),
    metrics=("peer_errors",),
    catches="Many password errors of one network, and then a success from there.",
    hurts="An owner who tried every password that he ever had; at home only errors at machine speed count.",
    misuse="Whoever shares the owner's address fails at his account there; when the owner logs in, his sending stops.",
    condition=succeeded,
    momentary=True,
    accuses=misuses,
)
