"""A log file as it grows, through rotation, truncation and restarts of the reader.

Files are told apart by device and inode and by their first bytes, since inodes are used again. A file that was
renamed (logrotate ``create``) is read to its end, and for a while on, because its writer may not have noticed yet. A
file that was cut (``copytruncate``) is finished from its copy. Both also work when it happened while nobody read. What
is written and cut between two looks leaves no trace: that is in the nature of ``copytruncate``.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import is_not, sub
from pathlib import Path

import structlog

from pipeline.adapters.files.frames import MAX_LINE, shortened
from pipeline.adapters.files.logbytes import HEAD, Bytes, digest, open_bytes

CHUNK = 1_048_576
# How long a renamed file is still read: until the writer has surely been told to open the new one.
GRACE_SECONDS = 60.0

_log = structlog.get_logger()


@dataclass(frozen=True)
class Place:
    """How far one file was read. ``id`` names its content for as long as it is read, wherever it is moved to."""

    id: str
    device: int
    inode: int
    offset: int
    head: str
    head_size: int


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

    def place(self) -> Place:
        """What to remember of it."""
        device, inode = self.content.identity
        return Place(self.id, device, inode, self.acknowledged, digest(self.head), len(self.head))

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
        return self.content.size() < read_to or self.content.read(0, len(self.head)) != self.head

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
        return Piece(self, lines, ends, cut)

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
    """Lines of one file. ``ends``: the position after each; ``cut``: how many were too long and were shortened."""

    source: Source
    lines: Sequence[bytes]
    ends: Sequence[int]
    cut: int


class Replaced(Exception):
    """The file was cut or written over since it was last read."""


class Tail:
    """One path and whatever was rotated away from it. ``changed`` is set when files come or go, for the caller to save.

    ``places``: where an earlier reader stopped, oldest file first; None if there was none. ``from_end``: if there was
    none, begin at the end of the file that is there now.
    """

    def __init__(self, path: Path, places: Sequence[Place] | None = None, from_end: bool = False) -> None:
        self.path = path
        self.sources: list[Source] = []
        self.changed = False
        self._resume(places or ())
        if self._notice() and from_end and places is None:
            self.sources[0].to_end()

    def poll(self, now: float, final: bool = False) -> Piece | None:
        """The next lines, or None if there are none now. ``now``: seconds of any steady clock.

        ``final``: nothing will be added any more, so last lines without a line feed count. Raises OSError.
        """
        self._notice()
        for source in list(self.sources):
            over = final or self._left_alone(source, now)
            try:
                piece = source.lines(over)
            except Replaced:
                self._replace(source)
                return self.poll(now, final)
            if piece is not None:
                source.quiet_since = None
                return piece
            if over and source.rotated:
                self._forget(source)
            elif source.quiet_since is None:
                source.quiet_since = now
        return None

    @staticmethod
    def _left_alone(source: Source, now: float) -> bool:
        return source.rotated and source.quiet_since is not None and now - source.quiet_since >= GRACE_SECONDS

    def close(self) -> None:
        """Closes its files."""
        for source in self.sources:
            source.content.close()

    def _resume(self, places: Sequence[Place]) -> None:
        for place in places:
            source = self._find(place)
            if source is None:
                if place.offset or place.head_size:
                    _log.warning("file_gone", file=str(self.path), note="what was not sent of it is lost")
                self.changed = True
                continue
            source.rotated = source.path != self.path
            self.sources.append(source)

    def _find(self, place: Place) -> Source | None:
        """The file that was read up to ``place``: by inode, or a copy of it (also packed) by its first bytes."""
        moved = [p for p in self._siblings() if _identity(p) == (place.device, place.inode)]
        for path in [*moved, *(p for p in self._siblings() if p not in moved)]:
            content = self._open(path)
            if content is None:
                continue
            try:
                head = content.read(0, place.head_size)
                same = digest(head) == place.head and content.size() >= place.offset
            except OSError:  # a damaged or unfinished gz file is not it
                same = False
            if same and (place.head_size or path in moved):
                return Source(path, content, place.id, place.offset, place.offset, head=head)
            content.close()
        return None

    def _notice(self) -> bool:
        """Opens what is new at the path, and what came and went between two looks. True if something was opened."""
        last = self.sources[-1] if self.sources else None
        now_there = _identity(self.path)
        if last is not None:
            last.rotated = last.content.identity != now_there
            if not last.rotated:
                return False
        between = self._siblings_after(last) if last is not None else []
        opened = False
        for path in [*between, self.path]:
            content = self._open(path)
            if content is not None:
                for source in self.sources:
                    source.rotated = True
                self.sources.append(Source(path, content, os.urandom(8).hex(), rotated=path != self.path))
                self.changed = opened = True
        return opened

    def _replace(self, source: Source) -> None:
        """``source`` was cut: finish its copy, if there is one, then begin at its start under a new id."""
        self.changed = True
        at = self.sources.index(source)
        place = source.place()
        copy = self._find(Place(place.id, -1, -1, source.offset, place.head, place.head_size))
        if copy is not None:
            copy.acknowledged, copy.skip, copy.rotated = source.acknowledged, source.skip, True
            self.sources.insert(at, copy)
            at += 1
        elif source.head:
            _log.warning("file_cut", file=str(source.path), note="what was not sent of it is lost")
        self.sources[at] = Source(source.path, source.content, os.urandom(8).hex(), rotated=source.rotated)

    def _forget(self, source: Source) -> None:
        # The last one stays: what comes next is told by being newer.
        if source.acknowledged == source.offset and source is not self.sources[-1]:
            source.content.close()
            self.sources.remove(source)
            self.changed = True

    def _siblings(self) -> Iterator[Path]:
        """The path and what logrotate and its like made of it: ``.1``, ``.2.gz``, ``-20261124``."""
        yield self.path
        rotated = re.compile(re.escape(self.path.name) + r"[.-]\d[\d.-]*(\.gz)?")
        try:
            names = sorted(os.listdir(self.path.parent))
        except OSError:
            return
        yield from (self.path.parent / name for name in names if rotated.fullmatch(name))

    def _siblings_after(self, last: Source) -> list[Path]:
        known = {source.content.identity for source in self.sources}
        since = last.content.modified_ns()
        found = []
        for path in self._siblings():
            if path == self.path or _identity(path) in known:
                continue
            try:
                modified = path.stat().st_mtime_ns
            except OSError:
                continue
            if modified > since:
                found.append((modified, path))
        return [path for _, path in sorted(found)]

    def _open(self, path: Path) -> Bytes | None:
        try:
            return open_bytes(path)
        except FileNotFoundError:
            return None
        except PermissionError:
            if path == self.path and not self.sources:
                raise
            return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None
