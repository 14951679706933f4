"""Prepares the cluster: waits for a broker, then makes every topic that is missing; the same for the store."""

from collections.abc import Callable

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from pipeline.adapters.kafka.client import wait_until_up
from pipeline.adapters.kafka.security.access import cluster_at
from pipeline.adapters.kafka.topics import Replicas, TopicReport, create_topics
from pipeline.adapters.streams.partitions import growing
from pipeline.ports import StoreUnavailable
from pipeline.settings import Settings
from pipeline.storage.storing import apply_ddl


def prepare(
    bootstrap: str,
    partitions: int | None,
    settings: Settings,
    wait: float,
    dry_run: bool = False,
    waiting: Callable[[], bool] = lambda: True,
) -> list[TopicReport]:
    """One report for each topic. ``partitions``: asked for, so that topics of raw lines get more; ``settings``: what
    the jobs are set to, and replicas. ``wait``: seconds for a broker to answer; ``waiting`` is called meanwhile.

    Raises BrokerUnavailable, SettingsError.
    """
    wait_until_up(bootstrap, wait, waiting)
    grow, counted = partitions is not None, settings.partitions
    replicas = Replicas(settings.replication, settings.min_insync)
    return create_topics(
        bootstrap, partitions=partitions or counted, dry_run=dry_run, grow=grow, counted=counted, replicas=replicas
    )


def grow_tallies(
    bootstrap: str,
    partitions: int,
    wait: float,
    dry_run: bool = False,
    waiting: Callable[[], bool] = lambda: True,
) -> list[TopicReport]:
    """See ``pipeline.adapters.streams.partitions.growing``. ``wait``, ``waiting``: as of ``prepare``."""
    wait_until_up(bootstrap, wait, waiting)
    return growing.grow_tallies(cluster_at(bootstrap), partitions, dry_run)


def prepare_store(settings: Settings, wait: float) -> list[str]:
    """Makes the tables that are missing; the files applied. ``wait``: seconds for the store to answer.

    Raises StoreUnavailable, StoreError, SettingsError.
    """
    from pipeline.adapters.stores.clickhouse import ClickHouse  # noqa: PLC0415  # it brings pandas: only who has a store waits

    retrying = Retrying(
        retry=retry_if_exception_type(StoreUnavailable),
        wait=wait_exponential(multiplier=0.1, max=2),
        stop=stop_after_delay(wait),
        reraise=True,
    )
    with ClickHouse.of(settings) as store:
        return retrying(apply_ddl, store)
