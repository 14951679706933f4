"""Much more mail by one account than it usually sends."""

from functools import partial

from pipeline.rules.rule import Rule
from pipeline.rules.shared import above_usual

RULE = Rule(
    id="account_send_surge",
    version=1,
    kinds=("account",),
    metrics=("messages", "recipients"),
    catches="A quiet account, stolen, that sends from at home, below the limits for everybody.",
    hurts="A customer who writes to all members of a club once a year.",
    misuse="Nothing without the password: only mail that was accepted from the account counts.",
    condition=partial(above_usual, "messages"),
    patience=60,
)
