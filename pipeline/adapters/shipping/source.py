"""A file, or another stream of bytes, as lines: how far it is read, and how far the broker has it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import is_not, sub
from pathlib import Path

from pipeline.adapters.files.logbytes import HEAD, Bytes, digest
from pipeline.adapters.shipping.frames import MAX_LINE, shortened

CHUNK = 1_048_576
OLD_MS = 3_600_000  # a file that was not written to for so long holds lines of then, not of now


@dataclass(frozen=True)
class Place:
    """How far one file was read. ``id`` names its content for as long as it is read, wherever it is moved to.

    ``size``: bytes that it had when it was last looked at; ``missed``: beginnings at which it was not found;
    ``cursor``: of a journal.
    """

    id: str
    device: int
    inode: int
    offset: int
    head: str
    head_size: int
    size: int = 0
    missed: int = 0
    cursor: str = ""


@dataclass
class Source:
    """One file that is being read. ``offset`` is read, ``acknowledged`` is with the broker, both bytes.

    ``skip``: for each topic, up to where the broker already has what comes after ``acknowledged``.
    """

    path: Path
    content: Bytes
    id: str
    offset: int = 0
    acknowledged: int = 0
    skip: dict[str, int] = field(default_factory=dict)
    rotated: bool = False
    quiet_since: float | None = None
    head: bytes = b""
    searched: int = 0  # up to here there is no line feed after ``offset``
    size: int = 0  # when it was last looked at
    trouble: OSError | None = None  # it could not be read, and is tried again at the next
    again_at: float = 0.0

    def place(self) -> Place:
        """What to remember of it."""
        device, inode = self.content.identity
        return Place(self.id, device, inode, self.acknowledged, digest(self.head), len(self.head), self.size)

    def rewind(self, skip: dict[str, int]) -> None:
        """Back to what is acknowledged."""
        self.offset, self.skip, self.searched = self.acknowledged, skip, 0

    def to_end(self) -> None:
        """Passes over the whole lines that are there."""
        size = self.content.size()
        begin = max(0, size - CHUNK)
        self.offset = self.acknowledged = begin + self.content.read(begin, size - begin).rfind(b"\n") + 1
        self.head = self.content.read(0, HEAD)

    def replaced(self, read_to: int) -> bool:
        """True if what was read up to ``read_to`` is no longer what the file holds."""
        size = self.content.size()
        if size < read_to:
            return True
        self.size = size
        return self.content.read(0, len(self.head)) != self.head

    def written_ms(self, now_ms: int) -> int | None:
        """When its last lines were written, milliseconds since 1970, as ``replay`` takes it; None if that is now."""
        written = self.content.modified_ns() // 1_000_000
        return written if written < now_ms - OLD_MS else None

    def lines(self, final: bool) -> "Piece | None":
        """The next whole lines; with ``final`` also a last one without line feed. None if there are none.

        Raises Replaced, OSError.
        """
        lines, ends = self._next(final)
        # Looked at after reading: what was cut or written over meanwhile is never taken for the file's next lines.
        if self.replaced(ends[-1] if ends else self.offset):
            raise Replaced
        if len(self.head) < HEAD:
            self.head = self.content.read(0, HEAD)
        if not ends:
            return None
        begin, self.offset, self.searched = self.offset, ends[-1], 0
        cut = 0
        if self.offset - begin > MAX_LINE:
            sizes = list(map(sub, ends, [begin, *ends]))
            sizes = [size - 1 for size in sizes[:-1]] + [sizes[-1] - (self.content.read(ends[-1] - 1, 1) == b"\n")]
            whole, lines = lines, [shortened(line, size) for line, size in zip(lines, sizes, strict=True)]
            cut = sum(map(is_not, whole, lines))
        return Piece(self, lines, ends, cut, begin)

    def _next(self, final: bool) -> tuple[list[bytes], list[int]]:
        data = self.content.read(self.offset, CHUNK)
        end = data.rfind(b"\n")
        if end >= 0:
            lines = data[:end].split(b"\n")
            return lines, list(accumulate((len(line) + 1 for line in lines), initial=self.offset))[1:]
        if len(data) == CHUNK:
            length = self._long_line(final)
            return ([data], [self.offset + length]) if length else ([], [])
        return ([data], [self.offset + len(data)]) if final and data else ([], [])

    def _long_line(self, final: bool) -> int:
        """Bytes of a line that is longer than ``CHUNK``, its line feed included; 0 if it has no end yet."""
        at = max(self.searched, self.offset + CHUNK)
        while chunk := self.content.read(at, CHUNK):
            found = chunk.find(b"\n")
            if found >= 0:
                return at + found + 1 - self.offset
            at += len(chunk)
        self.searched = at
        return at - self.offset if final else 0


@dataclass(frozen=True, slots=True)
class Piece:
    """Lines of one file. ``ends``: the position after each; ``cut``: how many were too long and were shortened;
    ``begin``: the position of the first."""

    source: Source
    lines: Sequence[bytes]
    ends: Sequence[int]
    cut: int
    begin: int

    def put_back(self) -> None:
        """As if these lines had not been read."""
        self.source.offset = self.begin


class Replaced(Exception):
    """The file was cut or written over since it was last read."""
