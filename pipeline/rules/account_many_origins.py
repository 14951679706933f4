"""One account used from many countries or networks."""

from pipeline.rules.rule import Rule
from pipeline.rules.shared import misuses

RULE = Rule(
    id="account_many_origins",
    version=1,
    kinds=("account",),
    metrics=("countries", "sources"),
    catches="A password that many hands hold.",
    hurts="A customer who keeps changing VPN exits, or a team that shares one account.",
    misuse="Nothing without the password: only successes count.",
    accuses=misuses,
)
