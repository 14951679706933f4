"""One suite for every place where measurements go: Prometheus, and memory."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.metrics import METRICS, MemoryRecorder, MetricFamily, Recorder


@dataclass
class Kept:
    """What the suite needs of an implementation. ``seen``: of a family and labels, the sum of a counter, the last value
    of a gauge, the number and sum of the observations of a histogram."""

    recorder: Recorder
    seen: Callable[[MetricFamily, tuple[str, ...]], tuple[float, ...]]


def of_prometheus() -> Kept:
    recorder = PrometheusRecorder()

    def seen(family: MetricFamily, labels: tuple[str, ...]) -> tuple[float, ...]:
        names = ("_count", "_sum") if family.kind == "histogram" else ("",)
        named = dict(zip(family.labels, labels, strict=True))
        return tuple(recorder.registry.get_sample_value(family.name + name, named) or 0.0 for name in names)

    return Kept(recorder, seen)


def of_memory() -> Kept:
    recorder = MemoryRecorder()

    def seen(family: MetricFamily, labels: tuple[str, ...]) -> tuple[float, ...]:
        values = recorder.values(family.name, *labels)
        if family.kind == "histogram":
            return float(len(values)), sum(values)
        return (sum(values) if family.kind == "counter" else values[-1] if values else 0.0,)

    return Kept(recorder, seen)


@pytest.fixture(params=[of_prometheus, of_memory])
def kept(request: pytest.FixtureRequest) -> Kept:
    made: Kept = request.param()
    return made


def labels_of(family: MetricFamily, which: str) -> tuple[str, ...]:
    return tuple(f"{label}-{which}" for label in family.labels)


def tell(recorder: Recorder, family: MetricFamily, value: float, labels: tuple[str, ...]) -> None:
    {"counter": recorder.add, "gauge": recorder.set, "histogram": recorder.observe}[family.kind](
        family.name, value, *labels
    )


@pytest.mark.parametrize("family", METRICS, ids=lambda family: family.name)
def test_every_metric_is_kept_by_its_labels(kept: Kept, family: MetricFamily) -> None:
    one, other = labels_of(family, "one"), labels_of(family, "other")
    for value in (2.0, 0.5):
        tell(kept.recorder, family, value, one)
    wanted = {"counter": (2.5,), "gauge": (0.5,), "histogram": (2.0, 2.5)}[family.kind]
    assert kept.seen(family, one) == wanted
    if family.labels:
        assert not any(kept.seen(family, other))
        tell(kept.recorder, family, 4.0, other)
        assert kept.seen(family, one) == wanted
        assert kept.seen(family, other)[-1] == 4.0


@pytest.mark.parametrize("family", METRICS, ids=lambda family: family.name)
def test_a_wrong_number_of_labels_is_an_error(kept: Kept, family: MetricFamily) -> None:
    for labels in ((*labels_of(family, "one"), "more"), labels_of(family, "one")[:-1] if family.labels else ("x",)):
        with pytest.raises(ValueError, match="label"):
            tell(kept.recorder, family, 1.0, labels)


def test_a_name_that_is_not_declared_is_an_error_and_so_is_another_kind(kept: Kept) -> None:
    for family in (*METRICS, MetricFamily("sekimori_unheard_of_total", "counter", "")):
        labels = labels_of(family, "one")
        known = family in METRICS
        for kind, record in (
            ("counter", kept.recorder.add), ("gauge", kept.recorder.set), ("histogram", kept.recorder.observe)
        ):  # fmt: skip
            if not known or kind != family.kind:
                with pytest.raises(KeyError):
                    record(family.name, 1.0, *labels)


def test_counters_do_not_fall(kept: Kept) -> None:
    with pytest.raises(ValueError, match=r"(?i)counter"):
        kept.recorder.add("sekimori_enforce_expired_total", -1)
    kept.recorder.add("sekimori_enforce_expired_total", 0)
    kept.recorder.add("sekimori_enforce_expired_total")
    family = next(family for family in METRICS if family.name == "sekimori_enforce_expired_total")
    assert kept.seen(family, ()) == (1.0,)
