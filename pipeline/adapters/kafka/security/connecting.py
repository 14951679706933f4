"""Making a client of kafka-python, and saying why none could be made."""

from collections.abc import Callable
from typing import Any, Final

from kafka import errors as kafka_errors
from kafka.net.compat import KafkaNetClient
from kafka.net.manager import KafkaConnectionManager
from kafka.net.selector import NetworkSelector

from pipeline.adapters.kafka.errors import ACCESS
from pipeline.adapters.kafka.headers import read_leniently
from pipeline.adapters.kafka.security.access import cluster_at, servers

# Both brokers lie at hand in tests; in production a broker that needs longer than this is as good as down.
BOOTSTRAP_MS: Final = 5_000


class _Manager(KafkaConnectionManager):  # type: ignore[misc]  # the library has no types
    """Keeps what the last connection failed of, and rather that it was refused: the library tells only that time is
    up."""

    failure: Exception | None = None

    async def _connect(self, node: Any, conn: Any, *args: Any, **options: Any) -> None:
        await super()._connect(node, conn, *args, **options)
        if conn.init_future.failed() and not isinstance(self.failure, ACCESS):
            self.failure = conn.init_future.exception

    async def _build_transport(self, *args: Any, **options: Any) -> Any:
        """Hands on what a broker says right before it closes, such as why: the library drops it."""
        transport = await super()._build_transport(*args, **options)
        receive = transport._sock_recv

        def received() -> tuple[bytes, Exception | None]:
            data, error = receive()
            return data, None if data else error

        transport._sock_recv = received
        return transport


def connected(maker: Callable[..., Any], bootstrap: str, **settings: Any) -> Any:
    """A client of the library. One that finds no broker would leave its thread behind, trying on for ever; and it would
    say that none was found when there was one that did not let it in."""
    begun: list[tuple[Any, _Manager]] = []
    read_leniently()

    def network(**config: Any) -> Any:
        net = NetworkSelector(**config)
        manager = _Manager(net, **config)
        begun.append((KafkaNetClient(net, manager, **config), manager))
        return begun[0][0]

    given = cluster_at(bootstrap).access.of_kafka_python()
    config = {"bootstrap_timeout_ms": BOOTSTRAP_MS} | given | settings
    try:
        return maker(bootstrap_servers=servers(bootstrap), kafka_client=network, **config)
    except kafka_errors.KafkaError as error:
        why: BaseException = error
        for client, manager in begun:
            client.close()
            why = manager.failure or why
        raise (why if isinstance(why, kafka_errors.KafkaError) else error) from error
