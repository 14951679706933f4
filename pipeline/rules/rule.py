"""What a rule is: which counts of which subject it looks at, and what must hold besides."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.rules.config import RuleConfig
from pipeline.windows.view import View
from schemas.tally import CountedKind

Condition = Callable[[View, int, RuleConfig], bool]
"""(view, window in seconds, configuration) -> does the finding count?"""

Accuses = Callable[[View, bytes], bool]
"""(view of an account that the rule holds against, network) -> is the network to be accused?"""


@dataclass(frozen=True)
class Rule:
    """A rule fires when a metric reaches its limit within the limit's window, and ``condition`` holds.

    * ``id``: never used again for something else. ``version``: goes up when what it means changes.
    * ``kinds``: the subjects it judges. ``metrics``: what its limits may be about (``windows.metrics.METRICS``).
    * ``catches``: what it is for. ``hurts``: who suffers when it is wrong. ``misuse``: what an attacker can bring about
      with it for people who did nothing; docs/attack-bounds.md has the figures. For operators, one sentence each.
    * ``condition``: see above. ``accuses``: whom, if its configuration says ``accuse = true``.
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
    misuse: str = ""
    condition: Condition | None = None
    accuses: Accuses | None = None
    spares_known: bool = False
    patience: int = 0
