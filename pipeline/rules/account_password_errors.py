"""Guessing at one account."""

from pipeline.rules.rule import Rule

RULE = Rule(
    id="account_password_errors",
    version=1,
    kinds=("account",),
    metrics=("guesses",),
    catches="Dictionary and brute force attacks on one account, from networks that it was never used from.",
    hurts="The owner at a new place, after many typing errors; known networks are spared.",
    misuse="One address can lock an owner out of every new place, as long as it goes on.",
    spares_known=True,
)
