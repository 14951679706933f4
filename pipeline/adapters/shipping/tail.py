"""A log file as it grows, through rotation, truncation and restarts of the reader.

Files are known by their first bytes, whatever they are called and wherever they are moved, packed or not; device and
inode are a hint. A file that was renamed (logrotate ``create``) is read to its end, and for a while on, because its
writer may not have noticed yet. A file that was cut (``copytruncate``) is finished from its copy. Both also work when
it happened while nobody read. What is written and cut between two looks leaves no trace: that is in the nature of
``copytruncate``.
"""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from pipeline.adapters.files.logbytes import HEAD, Bytes, digest, open_bytes
from pipeline.adapters.shipping.rotated import DoneFile, Rotations, identity
from pipeline.adapters.shipping.source import Piece, Place, Replaced, Source

# How long a renamed file is still read: until the writer has surely been told to open the new one.
GRACE_SECONDS = 60.0
AGAIN_SECONDS = 5.0  # until what could not be read or found is tried again, at first
SLOWEST_SECONDS = 600.0
MAX_MISSING = 16  # files that are still looked for
MAX_MISSED = 3  # beginnings at which a file was not found, until it is given up

_log = structlog.get_logger()


class Tail:
    """One path and whatever was rotated away from it. ``changed`` is set when files come or go, for the caller to save.

    ``places``: where an earlier reader stopped, oldest file first, None if there was none; ``seen``: what it had done
    with, None if it did not remember. ``from_end``: if there was none, begin at the end of the file that is there now.
    ``folders``: where rotated files are besides; ``others``: logs that are none of its rotated files.

    ``trouble``: why not all can be read now. ``lost``: files whose rest was not found, so far; ``missing``: those that
    are still looked for.
    """

    def __init__(
        self,
        path: Path,
        places: Sequence[Place] | None = None,
        from_end: bool = False,
        seen: Sequence[DoneFile] | None = None,
        folders: Sequence[Path] = (),
        others: Sequence[Path] = (),
    ) -> None:
        self.path = path
        self.name = str(path)
        self.sources: list[Source] = []
        self.missing: list[Place] = []
        self.changed = False
        self.trouble: OSError | None = None
        self.lost = 0
        self._rotations = Rotations(path, folders, others)
        self._from_end = from_end and places is None and path.exists()
        self._look_again_at, self._find_again_at, self._patience = 0.0, 0.0, AGAIN_SECONDS
        self._resume(places or ())
        if seen is not None:
            self._rotations.remember(seen)
        else:
            last = self.sources[-1] if places and self.sources else None
            self._rotations.pass_over(last.content.modified_ns() if last else float("inf"))
        self.trouble = self._notice(0.0)

    def over(self, final: bool) -> bool:
        """See ``feed.Stream``."""
        return final

    def seen(self) -> list[DoneFile]:
        """What is done with, to be remembered."""
        return self._rotations.seen()

    def places(self) -> list[Place]:
        """What is not done with, to be remembered."""
        return [*self.missing, *(source.place() for source in self.sources)]

    def acknowledge(self) -> None:
        """The broker has all that was read."""
        for source in self.sources:
            source.acknowledged = source.offset

    def poll(self, now: float, final: bool = False) -> Piece | None:
        """The next lines, or None if there are none now. ``now``: seconds of any steady clock.

        ``final``: nothing will be added any more, so last lines without a line feed count; then, and only then, it
        raises OSError for what cannot be read. Otherwise that is told by ``trouble``, and tried again.
        """
        trouble = self._notice(now)
        for source in list(self.sources):
            if now < source.again_at and not final:
                trouble = trouble or source.trouble
                continue
            over = final or self._left_alone(source, now)
            try:
                piece = source.lines(over)
            except Replaced:
                self._replace(source)
                return self.poll(now, final)
            except OSError as error:
                trouble = trouble or error
                source.trouble, source.again_at = error, now + AGAIN_SECONDS
                continue
            if piece is not None:
                source.quiet_since = None
                return piece
            if over and source.rotated:
                self._forget(source)
            elif source.quiet_since is None and source.rotated:  # silence before says nothing of its writer
                source.quiet_since = now
        self.trouble = trouble or self._rotations.trouble
        if final and trouble is not None:
            raise trouble
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
            if source is not None:
                source.rotated = source.path != self.path
                self.sources.append(source)
                self.changed = self.changed or source.content.identity != (place.device, place.inode)
            elif place.offset or place.head_size:
                self.changed = True
                if place.missed + 1 < MAX_MISSED:
                    self._miss(place)
                else:
                    _log.warning("file_given_up", file=str(self.path), read_to=place.offset)

    def _miss(self, place: Place) -> None:
        """What was rotated away is not there: say so, and go on looking for it."""
        self.lost += 1
        self.missing = [*self.missing, replace(place, missed=place.missed + 1)][-MAX_MISSING:]
        self._patience = AGAIN_SECONDS
        _log.warning(
            "file_gone",
            file=str(self.path),
            read_to=place.offset,
            known_missing_bytes=max(0, place.size - place.offset),
            note="missing is what was written to it after the bytes that were sent; it is looked for by its first "
            "bytes: if it was moved to another folder, name that with --olddir",
        )

    def _find_missing(self, now: float) -> None:
        if now < self._find_again_at or not self.missing:
            return
        self._find_again_at, self._patience = now + self._patience, min(2 * self._patience, SLOWEST_SECONDS)
        for place in list(self.missing):
            source = self._find(place)
            if source is not None:
                source.rotated = source.path != self.path
                self.missing.remove(place)
                self.sources.insert(0, source)
                self.changed = True
                _log.info("file_found", file=str(source.path), read_to=place.offset)

    def _find(self, place: Place) -> Source | None:
        """The file that was read up to ``place``, wherever it is now."""
        opened = {source.content.identity for source in self.sources}
        inode = place.device, place.inode

        def fits(content: Bytes) -> bool:
            if content.identity in opened or (not place.head_size and content.identity != inode):
                return False
            # Where no whole line was sent, the first bytes prove little: it must be new to us besides.
            proved = place.offset or content.identity == inode
            if not proved and self._rotations.place_of(content.read(0, HEAD)) is not None:
                return False
            return digest(content.read(0, place.head_size)) == place.head and content.size() >= place.offset

        found = self._rotations.find(fits, inode, anywhere=place.offset > 0)
        if found is None:
            return None
        path, content = found
        head = content.read(0, place.head_size)
        return Source(path, content, place.id, place.offset, place.offset, head=head, size=place.size)

    def _notice(self, now: float) -> OSError | None:
        """Opens what is new at the path, and what came and went between two looks. Returned is why it cannot."""
        self._find_missing(now)
        last = self.sources[-1] if self.sources else None
        if last is not None:
            last.rotated = last.content.identity != identity(self.path)
        if last is None or last.rotated or now >= self._look_again_at:
            self._open_unsent(now)
        if last is None or last.rotated:
            try:
                self._open_path(last)
            except OSError as error:
                return error
        return None

    def _open_unsent(self, now: float) -> None:
        """Opens rotated files that nobody read."""
        here = [source for source in self.sources[-1:] if not source.rotated]
        for path, content, head, end in self._rotations.unsent(self.sources):
            source = Source(path, content, os.urandom(8).hex(), end, end, head=head, rotated=True)
            self.sources.insert(len(self.sources) - len(here), source)
            self.changed = True
        self._look_again_at = now + AGAIN_SECONDS if self._rotations.unreadable else float("inf")

    def _open_path(self, last: Source | None) -> None:
        try:
            content = open_bytes(self.path)
        except FileNotFoundError:
            return
        try:
            head = content.read(0, HEAD)
            known = next((s for s in self.sources if s.content.identity == content.identity), None)
            if known is None and last is not None and self._is_copy_of(last, content, head):
                known = last
            if known is not None:  # it was written anew, or moved back
                known.content.close()
                known.content, known.path, known.rotated = content, self.path, False
                self.sources.remove(known)
                self.sources.append(known)
                self.changed = True
                return
            end = self._rotations.place_of(head)
            source = Source(self.path, content, os.urandom(8).hex(), head=head)
            if end is not None and 0 < end <= content.size():
                source.offset = source.acknowledged = end
            if self._from_end:
                source.to_end()
        except OSError:
            content.close()
            raise
        self._from_end = False
        self._append(source)

    @staticmethod
    def _is_copy_of(last: Source, content: Bytes, head: bytes) -> bool:
        """Whether the file at the path is ``last``, written anew. Few bytes prove it only if that is gone."""
        if not last.head or not head.startswith(last.head) or content.size() < last.offset:
            return False
        return len(last.head) == HEAD or not last.content.linked()

    def _append(self, source: Source) -> None:
        for other in self.sources:
            other.rotated = True
        self.sources.append(source)
        self.changed = True

    def _replace(self, source: Source) -> None:
        """``source`` was cut: finish its copy, if there is one, then begin at its start under a new id."""
        self.changed = True
        at = self.sources.index(source)
        place = replace(source.place(), device=-1, inode=-1, offset=source.offset)
        copy = self._find(place)
        if copy is not None:
            copy.acknowledged, copy.skip, copy.rotated = source.acknowledged, source.skip, True
            self.sources.insert(at, copy)
            at += 1
        elif source.head and not (source.rotated and source.offset >= source.size):
            self._miss(place)
        if source.rotated:  # another rotated file has its place: it may be known under another name
            self.sources.remove(source)
            source.content.close()
            self._rotations.done(source)
            self._look_again_at = 0.0
        else:
            self.sources[at] = Source(source.path, source.content, os.urandom(8).hex())

    def _forget(self, source: Source) -> None:
        # The last one stays: what comes next is told by being newer.
        if source.acknowledged == source.offset and source is not self.sources[-1]:
            source.content.close()
            self.sources.remove(source)
            self._rotations.done(source)
            self.changed = True
