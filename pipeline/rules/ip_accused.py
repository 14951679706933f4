"""A network from where accounts were misused or attacked."""

from pipeline.rules.config import RuleConfig
from pipeline.rules.rule import Rule
from pipeline.windows.layout import ACCUSED
from pipeline.windows.peers import NOBODY
from pipeline.windows.view import View


def only_accusers(view: View, window: int, config: RuleConfig) -> bool:
    """Is nobody else using the network well? Then an office or a NAT is not locked for one bad account.

    Users only come, and accusers leave the window: so it comes to hold when somebody accuses, or not at all.
    """
    accusers = {e[3] for e in view.window(ACCUSED, window) + view.before(ACCUSED)}
    return not (view.seen.keys() - accusers - {NOBODY})


RULE = Rule(
    id="ip_accused",
    version=1,
    kinds=("ip",),
    metrics=("accusers",),
    catches="Spam bots and guessers, found by what they did to accounts that had to be restricted.",
    hurts="A customer whose own machine sent the spam: at home only sending is stopped.",
    misuse="Whoever guesses from an address that nobody logged in from shuts it for those who come after him.",
    condition=only_accusers,
    momentary=True,
)
