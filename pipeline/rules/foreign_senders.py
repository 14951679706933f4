"""Many envelope senders that are not the account's own."""

from pipeline.rules.rule import Rule
from pipeline.rules.shared import misuses

RULE = Rule(
    id="foreign_senders",
    version=1,
    kinds=("account",),
    metrics=("senders",),
    catches="Forged senders, accepted or refused.",
    hurts="A customer who sends for many addresses of his own: give the account to the allowlist.",
    misuse="Nothing without the password: only senders of an authenticated client count.",
    accuses=misuses,
)
