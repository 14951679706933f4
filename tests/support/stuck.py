"""``sekimori`` with a consumer that takes its partitions and then nothing more, as one does at times after a rebalance
within a rebalance; once the process has begun anew, it works."""

import asyncio

from faust.transport.consumer import ThreadDelegateConsumer

from pipeline.adapters.streams.ending import begun
from pipeline.cli import main


async def _nothing(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


if __name__ == "__main__":
    if not begun():
        ThreadDelegateConsumer._getmany = _nothing
    main()
