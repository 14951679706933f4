"""What analysts ask of the store: named queries, one function each, grouped by theme.

A query takes a ``RowStore``, a ``Period`` and what else it needs, and returns a pandas frame. ``QUERIES`` declares the
columns of each and their units; a test holds every query to it, on every engine. Times are UTC, unless a column says
local. Notebooks only call these and plot.
"""

from pipeline.analysis.countries import COUNTRIES
from pipeline.analysis.day import DAY
from pipeline.analysis.delivery import DELIVERY
from pipeline.analysis.guessing import GUESSING
from pipeline.analysis.incident import INCIDENT
from pipeline.analysis.query import Period, Query
from pipeline.analysis.thresholds import THRESHOLDS
from pipeline.analysis.trend import TREND

QUERIES: tuple[Query, ...] = (*TREND, *DAY, *GUESSING, *THRESHOLDS, *COUNTRIES, *INCIDENT, *DELIVERY)

__all__ = ["QUERIES", "Period", "Query"]
