"""``sekimori`` with a consumer that takes its partitions and then nothing more, as one does at times after a rebalance
within a rebalance; with ``ALONE`` set, one that never becomes a member of its group. Once the process has begun anew,
it works."""

import asyncio
import os

from faust.transport.consumer import ThreadDelegateConsumer

from pipeline.adapters.streams.ending import begun
from pipeline.cli import main

ALONE = "_SEKIMORI_TEST_ALONE"


async def _nothing(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


async def _no_part(*_: object, **__: object) -> None:
    return None


if __name__ == "__main__":
    if not begun() and os.environ.get(ALONE):
        ThreadDelegateConsumer.subscribe = _no_part
    elif not begun():
        ThreadDelegateConsumer._getmany = _nothing
    main()
