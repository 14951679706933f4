"""Work done by a process of its own, a little ahead of whoever needs the results."""

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Generic, Self, TypeVar

from pipeline.adapters.workers import CONTEXT, WorkerLost, obey_parent

Task = TypeVar("Task")
Work = Callable[[Task], Iterator[bytes]]

_RESULT, _RAISED, _END = b"r", b"x", b"."


class Prefetch(Generic[Task]):
    """A process that waits for one task. Context manager: whatever it still does is stopped in the end.

    On Linux it is forked, so it must be made before any thread, and before a library is used that starts some.
    """

    def __init__(self, work: Work[Task]) -> None:
        self._connection, other = multiprocessing.Pipe()
        self._process = CONTEXT.Process(target=_serve, args=(work, other, self._connection), daemon=True)
        self._process.start()
        other.close()

    def results(self, task: Task) -> Iterator[bytes]:
        """What ``work`` yields of ``task``, and then what it raises. Raises WorkerLost. To be called once."""
        try:
            self._connection.send(task)
            while (message := self._connection.recv_bytes()) == _RESULT:
                yield self._connection.recv_bytes()
            if message == _RAISED:
                raise self._connection.recv()
        except (EOFError, ConnectionError):
            raise WorkerLost("the process that reads was killed, perhaps for want of memory") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.terminate()
        self._process.join()
        self._connection.close()


def _serve(work: Work[Task], connection: Connection, other: Connection) -> None:
    other.close()  # so that the connection ends with whoever has the other end
    obey_parent()
    try:
        try:
            for result in work(connection.recv()):
                connection.send_bytes(_RESULT)
                connection.send_bytes(result)
        except (OSError, ValueError) as error:
            if isinstance(error, ConnectionError):
                raise
            connection.send_bytes(_RAISED)
            connection.send(error)
        else:
            connection.send_bytes(_END)
    except (EOFError, ConnectionError):
        pass  # nobody needs it any more
