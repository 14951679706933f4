"""What a hook is asked with, for tests."""

from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.enforce.limiter import Limiter
from pipeline.enforce.table import DecisionTable
from pipeline.hooks.hook import Context
from pipeline.networks import CountryOf


def context(
    table: DecisionTable,
    limiter: Limiter | None = None,
    *,
    country_of: CountryOf = lambda address: "RU",
    flags: frozenset[str] = frozenset(),
) -> Context:
    """Everybody is in Russia."""
    return Context(table, limiter or Limiter(), PrometheusRecorder(), country_of, flags)
