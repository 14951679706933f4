"""The journal of systemd, for hosts that write no log files: what ``journalctl`` prints, and how far it came.

Each entry is one JSON object on a line, as ``journalctl --output=json`` writes it. The cursor of the last entry that
the broker has is kept; ``journalctl`` is started again after it, also when it ends by itself.
"""

import os
import re
import subprocess
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import structlog

from pipeline.adapters.shipping.pipe import MAX_HELD, PipeBytes, PipeSource
from pipeline.adapters.shipping.rotated import DoneFile
from pipeline.adapters.shipping.source import Piece, Place, Source

AGAIN_SECONDS = 5.0  # until journalctl is started again
JOURNAL = Path("/var/log/journal")
FIELDS = ("MESSAGE", "SYSLOG_IDENTIFIER", "SYSLOG_PID", "_PID", "_COMM", "_HOSTNAME")
"""What formats read; time and cursor are always there."""
_CURSOR = re.compile(rb'"__CURSOR"\s*:\s*"([^"\\]*)"')

_log = structlog.get_logger()


def journal_command(place: Path | None = None, matches: Sequence[str] = ()) -> list[str]:
    """The command that prints the journal: that of this host, or the folder or file at ``place``; of it only entries
    with these ``FIELD=VALUE``."""
    command = ["journalctl", "--output=json", f"--output-fields={','.join(FIELDS)}", "--all", "--quiet", "--no-pager"]
    if place is not None:
        command.append(f"--directory={place}" if place.is_dir() else f"--file={place}")
    return [*command, *matches]


class Cursors:
    """Where a journal was at which position of what came of it."""

    def __init__(self, at: int, cursor: str) -> None:
        self._known = deque([(at, cursor)])

    def note(self, end: int, cursor: str) -> None:
        """What ends at ``end`` is followed by what comes after ``cursor``."""
        while self._known and self._known[-1][0] >= end:
            self._known.pop()
        self._known.append((end, cursor))

    def at(self, end: int) -> str:
        """The cursor of ``end``, or the last before it."""
        return max(entry for entry in self._known if entry[0] <= end)[1]

    def forget(self, end: int) -> None:
        """What comes before ``end`` is not asked for any more."""
        while len(self._known) > 1 and self._known[1][0] <= end:
            self._known.popleft()


class JournalTail:
    """``feed.Stream`` of what ``command`` prints. ``place``: where an earlier reader stopped. ``from_end``: if there
    was none, begin after the last entry that is there now."""

    def __init__(
        self, command: Sequence[str], place: Place | None = None, follow: bool = False, from_end: bool = False
    ) -> None:
        """Raises OSError where there is no journalctl."""
        self.name = "journal"
        self._command = list(command)
        self._follow = follow
        at = place.offset if place else 0
        cursor = place.cursor if place else self._last() if from_end else ""
        self._cursors = Cursors(at, cursor)
        source_id = place.id if place else os.urandom(8).hex()
        self._process, self._content = self._start(at)
        self._source = PipeSource(JOURNAL, self._content, source_id, at, at)
        self.sources: list[Source] = [self._source]
        self.changed = place is None
        self.trouble: OSError | None = None
        self.lost = 0
        self._again_at: float | None = None
        self._over = False

    def _start(self, at: int) -> tuple[subprocess.Popen[bytes], PipeBytes]:
        after = self._cursors.at(at)
        process = self._run(
            *(["--follow", "--no-tail"] if self._follow else []), *([f"--after-cursor={after}"] if after else [])
        )
        assert process.stdout is not None
        return process, PipeBytes(os.dup(process.stdout.fileno()), at)

    def _last(self) -> str:
        with self._run("--lines=1") as process:
            found = _CURSOR.search(process.communicate()[0])
        return found[1].decode() if found else ""

    def _run(self, *more: str) -> "subprocess.Popen[bytes]":
        try:
            return subprocess.Popen(  # noqa: S603  # the words are ours, or the operator's
                [*self._command, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
            )
        except FileNotFoundError:
            raise OSError("there is no journalctl on this host") from None

    def over(self, final: bool) -> bool:
        """See ``feed.Stream``."""
        return self._over

    def poll(self, now: float, final: bool = False) -> Piece | None:
        """See ``feed.Stream``."""
        source, content = self._source, self._content
        content.fill(source.offset)
        piece = source.lines(content.size() - source.offset >= MAX_HELD)
        if piece is not None:
            self.trouble = None
            found = _CURSOR.search(piece.lines[-1])
            if found is not None:
                self._cursors.note(piece.ends[-1], found[1].decode())
        elif content.ended and not self._over:
            self._ended(now)
        return piece

    def _ended(self, now: float) -> None:
        """Its last line may be cut off: it comes again whole."""
        status = self._process.wait()
        if status == 0 and not self._follow:
            self._over = True
            return
        error = OSError(f"journalctl ended with status {status}; what it said stands before this")
        if not self._follow:
            raise error
        if self._again_at is None:
            self._again_at = now + AGAIN_SECONDS
            self.trouble = error
            _log.warning("journal_ended", status=status, note="it is started again, after the last entry")
        elif now >= self._again_at:
            self._again_at = None
            if self._source.acknowledged < self._source.offset:
                return  # what is kept may be sent once more
            self._restart()

    def _restart(self) -> None:
        at = self._source.offset
        self._close()
        self._process, self._content = self._start(at)
        self._source.content = self._content

    def acknowledge(self) -> None:
        """See ``feed.Stream``."""
        self._source.acknowledged = self._source.offset
        self._content.forget(self._source.offset)
        self._cursors.forget(self._source.offset)

    def places(self) -> list[Place]:
        """See ``feed.Stream``."""
        at = self._source.acknowledged
        return [Place(self._source.id, 0, 0, at, "", 0, cursor=self._cursors.at(at))]

    def seen(self) -> list[DoneFile] | None:
        """See ``feed.Stream``."""
        return None

    def close(self) -> None:
        """See ``feed.Stream``."""
        self._close()

    def _close(self) -> None:
        self._content.close()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process.terminate()
        self._process.wait()
