"""Mail to many recipients that do not exist."""

from pipeline.rules.config import RuleConfig
from pipeline.rules.rule import Rule
from pipeline.rules.shared import room_of_share, total
from pipeline.windows.view import View


def large_share(view: View, window: int, config: RuleConfig) -> bool:
    """Do at least ``config.share`` of the recipients not exist?"""
    return total("failed", view, window) >= config.share * total("recipients", view, window)


def must_fail_besides(view: View, window: int, config: RuleConfig) -> tuple[float, int]:
    """See ``room_of_share``."""
    return room_of_share("failed", "recipients", view, window, config.share)


RULE = Rule(
    id="failed_recipients",
    version=1,
    kinds=("account",),
    metrics=("failed",),
    catches="Bought or made-up address lists.",
    hurts="A customer with a very old address list.",
    misuse="Nothing without the password: only bounces of the account's own mail count.",
    condition=large_share,
    room=must_fail_besides,
)
