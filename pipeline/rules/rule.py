"""What a rule is: which counts of which subject it looks at, and what must hold besides."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.rules.config import RuleConfig
from pipeline.rules.view import View
from schemas.tally import CountedKind

Condition = Callable[[View, int, RuleConfig], bool]
"""(view, window in seconds, configuration) -> does the finding count?"""

Sources = Callable[[View], set[bytes]]
"""Networks to be accused when the rule holds against an account."""


@dataclass(frozen=True)
class Rule:
    """A rule fires when a metric reaches its limit within the limit's window, and ``condition`` holds.

    * ``id``: never used again for something else. ``version``: goes up when what it means changes.
    * ``kinds``: the subjects it judges. ``metrics``: what its limits may be about (``view.METRICS``).
    * ``catches``: what it is for. ``hurts``: who suffers when it is wrong. Both for operators, one sentence each.
    * ``condition``: see above. ``sources``: whom it accuses, if its configuration says ``accuse = true``.
    * ``spares_known``: a login restriction leaves out the networks that the account was used from before; if there
      are none, logins are only delayed, so that nobody is locked out by somebody else's guessing.
    * ``patience``: seconds until it is asked again where a limit was reached but ``condition`` did not hold.
    """

    id: str
    version: int
    kinds: tuple[CountedKind, ...]
    metrics: tuple[str, ...]
    catches: str
    hurts: str
    condition: Condition | None = None
    sources: Sources | None = None
    spares_known: bool = False
    patience: int = 0
