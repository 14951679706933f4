"""One account tried from many networks."""

from pipeline.rules.rule import Rule
from pipeline.rules.shared import guesses

RULE = Rule(
    id="account_many_guessers",
    version=1,
    kinds=("account",),
    metrics=("failing_sources",),
    catches="Distributed guessing: many networks, a few tries each, one account.",
    hurts="The owner at a new place while the attack goes on; known networks are spared.",
    misuse="Eight tries from eight /64s of one line lock an owner out of every new place, as long as they go on.",
    accuses=guesses,
    spares_known=True,
)
