"""One network that tries many accounts."""

from pipeline.rules.config import RuleConfig
from pipeline.rules.rule import Rule
from pipeline.rules.shared import total
from pipeline.windows.layout import NEVER
from pipeline.windows.view import View


def mostly_fails(view: View, window: int, config: RuleConfig) -> bool:
    """Are the failing accounts more than ``config.times`` those that succeed from here?"""
    return total("failing_accounts", view, window) > config.times * len(view.seen)


def must_fail_besides(view: View, window: int, config: RuleConfig) -> tuple[float, int]:
    """So many accounts more must fail; time and successes only make it more."""
    return config.times * len(view.seen) - total("failing_accounts", view, window), NEVER


RULE = Rule(
    id="ip_many_accounts",
    version=1,
    kinds=("ip",),
    metrics=("failing_accounts",),
    catches="Reverse brute force and spraying: one network, many accounts, few tries at each.",
    hurts="A NAT with many customers of whom many forgot their passwords at once, as after a migration.",
    misuse="Somebody behind a shared address locks all there out: by one made-up name more than accounts log in.",
    condition=mostly_fails,
    room=must_fail_besides,
)
