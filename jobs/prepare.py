"""Prepares the cluster: waits for a broker, then makes every topic that is missing."""

from collections.abc import Callable

from pipeline.adapters.kafka import wait_until_up
from pipeline.adapters.topics import TopicReport, create_topics


def prepare(
    bootstrap: str, partitions: int, wait: float, dry_run: bool = False, waiting: Callable[[], bool] = lambda: True
) -> list[TopicReport]:
    """One report for each topic. ``wait``: seconds for a broker to answer; ``waiting`` is called meanwhile.

    Raises BrokerUnavailable.
    """
    wait_until_up(bootstrap, wait, waiting)
    return create_topics(bootstrap, partitions=partitions, dry_run=dry_run)
