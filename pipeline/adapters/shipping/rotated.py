"""Where the content of a log goes when it is rotated: the names, the folders, and which of the files there are known.

A file is known by its first bytes. Names, inodes and times only say where to look first, and in which order.
"""

import os
import re
import stat
from collections.abc import Callable, Sequence, Set
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from pipeline.adapters.files.logbytes import HEAD, Bytes, digest, open_bytes
from pipeline.adapters.shipping.source import Source

NEWEST = 1000  # rotated files of one log that are looked at, and remembered
_LOOKED_AT = 20_000  # files of all names, when one is looked for
_PACK = r"(?:\.(?:gz|xz|bz2|zst))?"
_MARK = r"(?:\d[\dTZ:._+-]*|old|bak|prev|previous|orig|saved?)"
_DATE = r"(?:\d{6}[\dTZ:._+-]*|\d{4}[-_.]\d\d[\dTZ:._+-]*)"


def rotation_names(name: str) -> re.Pattern[str]:
    """What logrotate and its like make of a name, packed or not: ``mail.log.1``, ``mail.log-20261124``,
    ``mail-20261124.log``, ``mail.1.log``, ``mail.log.old``, ``mail.old.log``, ``20261124-mail.log``, ``mail.log.gz``.
    """
    stem, dot, suffix = name.rpartition(".")
    whole = re.escape(name)
    forms = [rf"{whole}[._-]{_MARK}(?:[._-]{_MARK})*", rf"{whole}~", rf"{_DATE}[._-]{whole}", rf"{whole}(?=\.)"]
    if stem:
        forms.append(rf"{re.escape(stem)}(?:[._-]{_DATE}|\.\d{{1,3}}|[._-](?:old|bak|prev)){re.escape(dot + suffix)}")
    return re.compile(rf"(?:{'|'.join(forms)}){_PACK}")


class DoneFile(msgspec.Struct, frozen=True, array_like=True):
    """A file that is done. ``end``: up to where it was sent; -1: it is older than our beginning, and was never ours."""

    head: str
    head_size: int
    end: int


def identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a regular file; ``None`` if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


class _Look(NamedTuple):
    device: int
    inode: int
    size: int
    modified_ns: int


class Rotations:
    """What was rotated away from ``path``: in its folder, and in ``folders``. ``others``: logs of their own.

    ``unreadable``: what could not be read when it was last looked at, and should be looked at again; ``trouble``: why,
    unless somebody may be writing it just now.
    """

    def __init__(self, path: Path, folders: Sequence[Path] = (), others: Sequence[Path] = ()) -> None:
        self.path = path
        self._folders = [path.parent, *folders]
        self._others = frozenset(others) - {path}
        self._names = rotation_names(path.name)
        self._seen: dict[tuple[str, int], int] = {}
        self._known: dict[Path, _Look] = {}
        self.unreadable: dict[Path, OSError] = {}
        self.trouble: OSError | None = None
        self._unfinished: dict[Path, _Look] = {}

    def seen(self) -> list[DoneFile]:
        """What to remember."""
        return [DoneFile(head, size, end) for (head, size), end in self._seen.items()]

    def remember(self, seen: Sequence[DoneFile]) -> None:
        """Inverse of ``seen``."""
        self._seen = {(entry.head, entry.head_size): entry.end for entry in seen}

    def pass_over(self, since: float) -> None:
        """What is there now and was not changed after ``since`` (nanoseconds since 1970) is not ours."""
        for path, look in self._rotated():
            if look.modified_ns <= since:
                self._known[path] = look
                content = self._open(path)
                if content is not None:
                    with suppress(OSError), closing(content):
                        self._remember(content.read(0, HEAD), -1)

    def done(self, source: Source) -> None:
        """It is sent to its end."""
        self._remember(source.head, source.acknowledged)

    def _remember(self, head: bytes, end: int) -> None:
        if head:
            key = (digest(head), len(head))
            self._seen.pop(key, None)
            self._seen[key] = end
            while len(self._seen) > 2 * NEWEST:
                self._seen.pop(next(iter(self._seen)))

    def place_of(self, head: bytes) -> int | None:
        """How far a file was sent that begins so: -1 if it was never ours, ``None`` if it is new."""
        sizes = {size for _, size in self._seen if size <= len(head)}
        for size in sorted(sizes, reverse=True):
            end = self._seen.get((digest(head[:size]), size))
            # A short beginning was the whole file: it is the same one if it is that still, or has whole lines of ours.
            if end is not None and (size in (HEAD, len(head)) or (end >= 0 and b"\n" in head[:size])):
                return end
        return None

    def unsent(self, sources: Sequence[Source]) -> list[tuple[Path, Bytes, bytes, int]]:
        """(path, content, first bytes, how far it was sent) of rotated files with something that was not, oldest
        first; those of ``sources`` are left out, by their first bytes. The caller closes what it opens."""
        self.unreadable.clear()
        found: list[tuple[int, Path, Bytes, bytes, int]] = []
        unfinished: dict[Path, _Look] = {}
        heads = {source.content.read(0, HEAD) for source in sources}
        proofs = tuple(s.head for s in sources if len(s.head) == HEAD or b"\n" in s.head)
        opened = {source.content.identity for source in sources}
        looks = self._rotated()
        self._known = {path: look for path, look in looks if self._known.get(path) == look}
        plain_first: list[tuple[bool, int, Path, _Look, Bytes]] = []
        for path, look in looks:
            if path not in self._known and look[:2] not in opened and look.size:
                content = self._open(path)
                if content is not None:
                    plain_first.append((content.packed, look.modified_ns, path, look, content))
        for _, modified, path, look, content in sorted(plain_first, key=lambda entry: entry[:3]):
            try:
                head = content.read(0, HEAD)
                end = None if head.startswith(proofs) else self._end_of(content, head, heads)
            except OSError as error:
                content.close()
                self.unreadable[path] = error
                unfinished[path] = look
                continue
            if end is None:
                self._known[path] = look
                content.close()
            else:
                heads.add(head)
                found.append((modified, path, content, head, end))
        self.trouble = next(
            (e for p, e in self.unreadable.items() if self._unfinished.get(p) == unfinished.get(p)), None
        )
        self._unfinished = unfinished
        return [entry[1:] for entry in sorted(found, key=lambda entry: entry[:2])]

    def _end_of(self, content: Bytes, head: bytes, heads: Set[bytes]) -> int | None:
        """From where it is to be sent; ``None`` if there is nothing."""
        if not head or head in heads:
            return None
        end = self.place_of(head)
        if end is None:
            return 0
        # A packed file was whole when it was packed: its size is not worth the time.
        return end if end >= 0 and not content.packed and content.size() > end else None

    def find(self, fits: Callable[[Bytes], bool], inode: tuple[int, int], anywhere: bool) -> tuple[Path, Bytes] | None:
        """A file that ``fits``: of this ``inode``, else with the name of a rotated one, else (``anywhere``) of any
        name, also in the folders below; of several the longest. The caller closes it."""
        named = [self.path, *(path for path, _ in self._rotated())]
        other = self._others_than(frozenset(named))
        same = [path for path in (*named, *other) if identity(path) == inode]
        for paths in (same, named, other if anywhere else []):
            best: tuple[int, Path, Bytes] | None = None
            for path in paths:
                content = self._open(path)
                if content is None:
                    continue
                size = _size_if(fits, content)
                if size is None or (best is not None and best[0] >= size):
                    content.close()
                    continue
                if best is not None:
                    best[2].close()
                best = size, path, content
            if best is not None:
                return best[1:]
        return None

    def _rotated(self) -> list[tuple[Path, _Look]]:
        """The newest files with the name of a rotated one."""
        found = []
        for folder in self._folders:
            for path in _listed(folder):
                own = folder != self.path.parent and path.name == self.path.name
                if path != self.path and path not in self._others and (own or self._names.fullmatch(path.name)):
                    look = _look(path)
                    if look is not None:
                        found.append((path, look))
        return sorted(found, key=lambda entry: (entry[1].modified_ns, entry[0]))[-NEWEST:]

    def _others_than(self, named: frozenset[Path]) -> list[Path]:
        """Files with other names, in which the content of ours may be all the same."""
        found: list[Path] = []
        for folder in self._folders:
            for path in _listed(folder):
                below = folder == self.path.parent and path.is_dir()
                found += (each for each in (_listed(path) if below else [path]) if each not in named)
                if len(found) > _LOOKED_AT:
                    return found[:_LOOKED_AT]
        return found

    def _open(self, path: Path) -> Bytes | None:
        if _look(path) is None:
            return None
        try:
            return open_bytes(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self.unreadable[path] = error
            return None


def _size_if(fits: Callable[[Bytes], bool], content: Bytes) -> int | None:
    try:
        return content.size() if fits(content) else None
    except OSError:  # a damaged or unfinished packed file is not it
        return None


def _look(path: Path) -> _Look | None:
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return _Look(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def _listed(folder: Path) -> list[Path]:
    try:
        return [folder / name for name in sorted(os.listdir(folder))]
    except OSError:
        return []
