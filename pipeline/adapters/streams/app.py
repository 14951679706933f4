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
from faust.transport.drivers import aiokafka

from pipeline.adapters.kafka.security.access import cluster_of
from pipeline.adapters.streams.ending import Ending
from pipeline.settings import Settings
from schemas.topics import LARGE

FETCH_WAIT_MS: Final = 100
UNACKNOWLEDGED: Final = 60.0  # seconds after which a message that the broker does not acknowledge counts as lost


class _Thread(aiokafka.AIOKafkaConsumerThread):  # type: ignore[misc]  # Faust has no types
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS  # Faust offers no setting; read when the consumer starts
        return consumer

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Faust would print a traceback; the error is told where it ends the job, see ``_crash`` of the application."""


class _Consumer(aiokafka.Consumer):  # type: ignore[misc]
    def _new_consumer_thread(self) -> Any:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class _Transport(aiokafka.Transport):  # type: ignore[misc]
    Consumer = _Consumer


class PromptApp(faust.App):  # type: ignore[misc]
    """A Faust application that sees a message after 0.1 s at most, however silent other partitions are.

    An error of an agent ends it, and so does one of the consumer, of the producer, or of whatever else Faust runs and
    would not tell of. Faust would restart an agent with the next message, and what was to come of the one at hand would
    be lost; so it comes again, to whoever goes on from the saved state.
    """

    ending: Ending

    async def on_start(self) -> None:
        """Its tasks run from here on: Faust would begin them with the first part of the group, and whoever never gets
        one would have neither health nor anybody who notices."""
        await super().on_start()
        for task in self._app_tasks:
            self.add_future(task())

    async def on_started_init_extra_tasks(self) -> None:
        """See ``on_start``."""

    def _new_transport(self) -> Any:
        return _Transport(self.conf.broker_consumer, self)

    async def _on_agent_error(self, agent: Any, exc: BaseException) -> None:
        await self.crash(exc)

    def _crash(self, reason: BaseException) -> None:
        if not self.should_stop:
            self.ending.fail(reason)
        super()._crash(reason)


def faust_app(name: str, settings: Settings, ending: Ending) -> Any:
    """A Faust application: no tables of Faust's own, no web server, raw bytes. ``ending`` is told of failures."""
    app = PromptApp(
        name,
        broker=";".join(f"kafka://{address.strip()}" for address in settings.brokers.split(",")),
        broker_credentials=cluster_of(settings).access.of_faust(),
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
        producer_request_timeout=UNACKNOWLEDGED,
        producer_linger=0.005,
        stream_wait_empty=False,
        stream_buffer_maxsize=256,
    )
    app.ending = ending
    return app
