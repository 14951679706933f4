"""What a rule is: which counts of which subject it looks at, and what must hold besides."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.rules.config import RuleConfig
from pipeline.windows.view import View
from schemas.tally import CountedKind

Condition = Callable[[View, int, RuleConfig], bool]
"""(view, window in seconds, configuration) -> does the finding count?"""

Room = Callable[[View, int, RuleConfig], tuple[float, int]]
"""(view, window in seconds, configuration), where the condition does not hold -> so many units of the metric must be
added before it can, and until that slot; 0 units, or a slot that is over: nobody knows. Both look at windows alone, not
at the slot in which they end"""

Accuses = Callable[[View, bytes], bool]
"""(view of an account that the rule holds against, network) -> is the network to be accused?"""


@dataclass(frozen=True)
class Rule:
    """A rule fires when a metric reaches its limit within the limit's window, and ``condition`` holds.

    * ``id``: never used again for something else. ``version``: goes up when what it means changes.
    * ``kinds``: the subjects it judges. ``metrics``: what its limits may be about (``windows.metrics.METRICS``).
    * ``catches``: what it is for. ``hurts``: who suffers when it is wrong. ``misuse``: what an attacker can bring about
      with it for people who did nothing; docs/attack-bounds.md has the figures. For operators, one sentence each.
    * ``condition``: see above. ``room``: how much must come before it can hold, where it does not; without one it is
      asked again at every tally. ``momentary``: it can come to hold only at a success from where errors came, or an
      accusation, which always ask (``metrics.UNNEEDED``).
    * ``accuses``: whom, if its configuration says ``accuse = true``.
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
    room: Room | None = None
    momentary: bool = False
    accuses: Accuses | None = None
    spares_known: bool = False
    patience: int = 0
