"""What a metric says of itself."""

from dataclasses import fields

import pytest

from pipeline.windows.metrics import METRICS, Unit
from pipeline.windows.state import Weights


@pytest.mark.parametrize(
    ("metric", "one", "two"),
    [
        ("countries", "used from 1 country", "used from 2 countries"),
        ("sources", "used from 1 network", "used from 2 networks"),
        ("failed", "mail to 1 recipient that does not exist", "mail to 2 recipients that do not exist"),
        ("guesses", "1 password error from an unknown network", "2 password errors from unknown networks"),
        ("messages", "1 message sent", "2 messages sent"),
    ],
)
def test_one_is_told_as_one(metric: str, one: str, two: str) -> None:
    assert (METRICS[metric].told(1), METRICS[metric].told(2)) == (one, two)


def test_every_metric_is_told_with_its_number_for_one_and_for_many() -> None:
    for name, metric in METRICS.items():
        assert " 1 " in f" {metric.told(1)} ", name
        assert " 0 " in f" {metric.told(0)} ", name
        assert metric.told(1).replace("1", "2") != metric.told(2), name


def test_every_unit_has_a_weight_of_its_own_and_every_weight_a_unit() -> None:
    weights = {field.name for field in fields(Weights)} - {"recent", "failing_recent"}
    assert sorted(unit.weight for unit in Unit if unit.weight) == sorted(weights)
