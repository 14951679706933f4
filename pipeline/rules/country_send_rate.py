"""Too much mail from one country."""

from pipeline.rules.rule import Rule

RULE = Rule(
    id="country_send_rate",
    version=1,
    kinds=("country",),
    metrics=("messages", "recipients"),
    catches="A country from where bulk mail comes.",
    hurts="Everybody in that country, if the action is more than a notice.",
    misuse="Nothing: it only tells operators.",
)
