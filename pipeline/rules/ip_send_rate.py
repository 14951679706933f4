"""Too much mail from one network."""

from pipeline.rules.rule import Rule

RULE = Rule(
    id="ip_send_rate",
    version=1,
    kinds=("ip",),
    metrics=("messages", "recipients"),
    catches="One network that sends in bulk, through however many accounts.",
    hurts="An office or a carrier's NAT behind one address: give it to the allowlist.",
    misuse="A customer behind a shared address stops the sending of all behind it, with mail of his own account.",
)
