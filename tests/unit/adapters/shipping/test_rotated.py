"""Rotated files: whatever they are called, packed with, moved to and stamped, each line arrives once."""

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from pipeline.adapters.shipping.rotated import rotation_names
from pipeline.adapters.shipping.tail import GRACE_SECONDS
from tests.unit.adapters.files.test_packing import PACK
from tests.unit.adapters.shipping.test_tail import Shipping, append

SUFFIX = {"gzip": ".gz", "xz": ".xz", "bzip2": ".bz2", "zst": ".zst"}


@pytest.mark.parametrize(
    "rotated",
    [
        *("mail.log.1", "mail.log.0", "mail.log.12.gz", "mail.log-20261124", "mail.log-20261124.xz", "mail.log.old"),
        *("mail-20261124.log", "mail-20261124.log.gz", "mail-2026-11-24.log", "mail.log.2026-11-24_01:50:43"),
        *(
            "mail.1.log",
            "mail.old.log",
            "mail.log~",
            "mail.log.bak",
            "20261124-mail.log",
            "mail.log.gz",
            "mail.log.zst",
        ),
        *("mail.log-20261124-1795485300", "mail.log.20261124.1.bz2", "mail_20261124T0150.log", "mail.log.1.old"),
    ],
)
def test_names_of_rotated_files(rotated: str) -> None:
    assert rotation_names("mail.log").fullmatch(rotated)


@pytest.mark.parametrize(
    "other",
    [
        *("mail.log", "mail.info", "mail.logs", "mail2.log", "mail-2.log", "mail.log.swp", "syslog.1", "amail.log.1"),
        *("mail.err.1", "mail.log.1.part", "mail-out.log", "mailxlog.1", "mail.log.gzip"),
    ],
)
def test_names_of_other_files(other: str) -> None:
    assert not rotation_names("mail.log").fullmatch(other)


class Rotating(Shipping):
    """As ``Shipping``, with all kinds of rotation and packing; what order lines have across files is left open."""

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.folders = (self.folder / "olddir",)
        for name in ("olddir", "archive"):
            (self.folder / name).mkdir()
        self.current: Path | None = None  # the file that was rotated last, and may still be written to

    def _rotated(self) -> list[Path]:
        return [
            path
            for path in sorted(self.folder.rglob("*"))
            if path.is_file() and path != self.log and "state" not in path.parts
        ]

    @precondition(lambda self: self.log.exists() and self.seen and not self.half)
    @rule(
        form=st.sampled_from(
            [
                "mail.log.{}",
                "mail-2026{:04}.log",
                "mail.log-2026{:04}",
                "olddir/mail.log.{}",
                "olddir/mail.log",
                "archive/{}",
            ]
        ),
        copy=st.booleans(),
        numbered=st.integers(0, 1),
    )
    def rotate(self, form: str, copy: bool, numbered: int) -> None:
        self.number += 1
        if numbered and form == "mail.log.{}":
            for n in range(self.number, 0, -1):
                old = self.log.with_name(f"mail.log.{n}")
                if old.exists():
                    old.rename(self.log.with_name(f"mail.log.{n + 1}"))
            target = self.log.with_name("mail.log.1")
        else:
            target = self.folder / form.format(self.number)
        if target.exists() or copy or form.startswith("archive"):
            self.poll()  # what is overwritten, cut or moved out of sight must have been seen
        if self.half or (copy and not self.log.stat().st_size):
            return
        if copy:
            shutil.copy(self.log, target)
            os.truncate(self.log, 0)
            self.current = None
            self.poll()
        else:
            self.log.rename(target)
            self.current = target

    @precondition(lambda self: self.current is not None and self.current.exists() and not self.half)
    @rule()
    def write_late(self) -> None:
        """The writer has not noticed yet."""
        assert self.current is not None
        self.number += 1
        line = b"Nov 24 01:50:43 mx postfix/smtpd[1]: line %d" % self.number
        append(self.current, line + b"\n")
        self.written.append(line)
        self.read = False

    @precondition(lambda self: self._rotated())
    @rule(data=st.data(), name=st.sampled_from(list(PACK)), keeps_time=st.booleans(), watched=st.booleans())
    def pack(self, data: st.DataObject, name: str, keeps_time: bool, watched: bool) -> None:
        path = data.draw(st.sampled_from(self._rotated()))
        if path.suffix in SUFFIX.values():
            return
        packed = path.with_name(path.name + SUFFIX[name])
        status = path.stat()
        content = PACK[name](path.read_bytes())
        packed.write_bytes(content[: len(content) // 2])
        if watched:
            self.poll()
        packed.write_bytes(content)
        if keeps_time:
            os.utime(packed, ns=(status.st_mtime_ns, status.st_mtime_ns))
        if watched:
            self.poll()
        path.unlink()
        if path == self.current:
            self.current = None

    @rule(seconds=st.sampled_from([0.2, GRACE_SECONDS + 1]))
    def poll(self, seconds: float = 0.2) -> None:
        super().poll(seconds)
        if seconds > GRACE_SECONDS:
            self.current = None

    @invariant()
    def what_arrived_is_what_was_written(self) -> None:
        arrived = Counter(
            line
            for partitions in self.broker.partitions.values()
            for log in partitions
            for record in log
            for line in (record.value or b"").split(b"\n")
        )
        assert not [line for line, times in arrived.items() if times > 1]
        assert set(arrived) <= set(self.written)
        assert not self.read or set(arrived) == set(self.written)


TestRotating = Rotating.TestCase
TestRotating.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
