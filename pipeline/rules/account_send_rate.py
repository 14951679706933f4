"""Too much mail by one account."""

from pipeline.rules.rule import Rule
from pipeline.rules.shared import misuses

RULE = Rule(
    id="account_send_rate",
    version=1,
    kinds=("account",),
    metrics=("messages", "webmail", "recipients"),
    catches="An account that sends more than people do, above all from abroad or by webmail.",
    hurts="A customer with a newsletter or a sending system: give the account to the allowlist.",
    misuse="Nothing without the password: only mail that was accepted from the account counts.",
    accuses=misuses,
)
