"""Faust's application, but that its consumer does not keep messages waiting, and that it ends when its work fails.

aiokafka has one request at a time under way to each broker, for the partitions whose messages have all been taken.
While a message of one partition is worked on, the next request goes out without that partition, and where the others
are silent it lasts as long as an answer may take: 1.5 s by a constant of Faust's, in each job on the way to a decision.
"""

import os
import tempfile
from pathlib import Path
from typing import Any, Final

import faust
import structlog
from faust.transport.drivers import aiokafka

from pipeline.adapters.kafka.cluster import Cluster
from pipeline.partition import StateUnreadable
from pipeline.settings import Settings
from schemas.topics import LARGE

FETCH_WAIT_MS: Final = 100


class _Thread(aiokafka.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust has no types
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust offers no setting; read when the consumer starts
        return consumer


class _Consumer(aiokafka.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> Any:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(aiokafka.Transport):  # type: ignore[misc]
    Consumer = _Consumer


class PromptApp(faust.App):  # type: ignore[misc]
    """A Faust application that sees a message after 0.1 s at most, however silent other partitions are.

    An error of an agent ends it. Faust would restart the agent with the next message, and what was to come of the one
    at hand would be lost; so it comes again, to whoever goes on from the saved state. ``unreadable``: the state that
    it ended for.
    """

    unreadable: StateUnreadable | None = None

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        if isinstance(exc, StateUnreadable):
            self.unreadable = self.unreadable or exc
        else:
            structlog.get_logger().error("job_failed", error=repr(exc))
        await self.crash(exc)


def faust_app(name: str, settings: Settings, cluster: Cluster) -> Any:
    """A Faust application: no tables of Faust's own, no web server, raw bytes."""
    return PromptApp(
        cluster.topic(name),
        **cluster.faust(),
        store="memory://",
        datadir=Path(tempfile.gettempdir()) / f"sekimori-{os.getuid()}",  # made by Faust, and left empty
        web_enabled=False,
        logging_config={"version": 1, "disable_existing_loggers": False},  # ours is set up already
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.partitions,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=8 * 1_048_576,
        broker_commit_interval=min(1.0, settings.checkpoint_seconds),
        broker_session_timeout=settings.session_timeout,
        broker_heartbeat_interval=settings.session_timeout / 4,
        broker_rebalance_timeout=max(settings.session_timeout * 2, 6.0),
        broker_request_timeout=max(settings.session_timeout * 3, 30.0),
        producer_max_request_size=LARGE,
        producer_linger=0.005,
        stream_wait_empty=False,
        stream_buffer_maxsize=256,
    )
