"""Many more password errors than usual."""

from functools import partial

from pipeline.rules.rule import Rule
from pipeline.rules.shared import above_usual

RULE = Rule(
    id="password_error_spike",
    version=1,
    kinds=("account", "country", "system"),
    metrics=("errors",),
    catches="An attack that stays below every other limit, or an outage of the password store.",
    hurts="Nobody: it only tells operators.",
    misuse="Nothing: it only tells operators, whom somebody may tire with it.",
    condition=partial(above_usual, "errors"),
    patience=60,
)
