"""Guessing by one network."""

from pipeline.rules.config import RuleConfig
from pipeline.rules.rule import Rule
from pipeline.rules.shared import total
from pipeline.windows.layout import NEVER
from pipeline.windows.view import View


def not_shared(view: View, window: int, config: RuleConfig) -> bool:
    """Do at most ``config.times`` as many accounts log in well from here as are guessed at? Else it is an office, a
    NAT, a gateway of our own: what single accounts do there is no reason to lock out the others."""
    return len(view.seen) <= config.times * total("failing_accounts", view, window)


def must_fail_besides(view: View, window: int, config: RuleConfig) -> tuple[float, int]:
    """So many accounts more must be guessed at; time and successes only make it more."""
    return len(view.seen) / config.times - total("failing_accounts", view, window), NEVER


RULE = Rule(
    id="ip_password_errors",
    version=2,
    kinds=("ip",),
    metrics=("errors", "strange_errors"),
    catches="One network that guesses passwords.",
    hurts="A person whose devices hold the old password of an account that was never used from that network.",
    misuse="Who shares an address locks all out there who log in, once he guesses at as many accounts as they are.",
    condition=not_shared,
    room=must_fail_besides,
)
