"""Guessing by one network."""

from pipeline.rules.rule import Rule

RULE = Rule(
    id="ip_password_errors",
    version=1,
    kinds=("ip",),
    metrics=("errors",),
    catches="One network that guesses passwords.",
    hurts="An office where many devices hold old passwords: give its address to the allowlist.",
    misuse="Somebody behind a shared address locks all there out, by 30 tries in a minute at home, or 10 abroad.",
)
