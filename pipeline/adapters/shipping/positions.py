"""What a shipper remembers of one path: which files it was reading, how far, and where its last message lies."""

import fcntl
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import msgspec

from pipeline.adapters.shipping.rotated import DoneFile
from pipeline.adapters.shipping.source import Place

NEWEST = 1  # version of the format that positions are saved in


class Remembered(msgspec.Struct, frozen=True):
    """``files``: oldest first. ``log``: topic -> (partition, offset after the last message that is accounted for).

    ``version``: of the format; 1 where none is told, as it once was. ``seen``: rotated files that are done; None where
    they are not told.
    """

    path: str
    files: list[Place]
    log: dict[str, tuple[int, int]]
    version: int = 1
    seen: Sequence[DoneFile] | None = None


class _Versioned(msgspec.Struct):
    version: int = 1


_WITHOUT = "without it the whole file is sent again: delete it if that is what you want"


class StateError(OSError):
    """The state cannot be read or written, or another shipper has it. The message says what to do."""


class Positions:
    """The state file of ``path`` in ``folder`` (mode 0600), ours alone until ``close``. Raises StateError."""

    def __init__(self, folder: Path, path: Path) -> None:
        name = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=6).hexdigest()
        self.file = folder / f"{path.name[:100]}-{name}.json"
        self._path = str(path.absolute())
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(self.file.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StateError(
                f"cannot keep positions in {folder} ({error.strerror}); give another with --state"
            ) from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StateError(f"{path} is being shipped by another process already ({self.file})") from None

    def load(self) -> Remembered | None:
        """What was saved last, None if nothing was. Raises StateError."""
        try:
            saved = self.file.read_bytes()
            version = msgspec.json.decode(saved, type=_Versioned).version
            if 1 <= version <= NEWEST:
                return msgspec.json.decode(saved, type=Remembered)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StateError(f"cannot read positions in {self.file} ({error.strerror})") from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
            raise StateError(f"{self.file} is damaged ({error}); {_WITHOUT}") from error
        raise StateError(
            f"{self.file} is of version {version}, and this program knows them up to {NEWEST}; start the version of "
            f"sekimori that wrote it; {_WITHOUT}"
        )

    def save(self, files: list[Place], log: dict[str, tuple[int, int]], seen: Sequence[DoneFile] | None = None) -> None:
        """Replaces what was saved, whole or not at all. Raises StateError."""
        content = msgspec.json.encode(Remembered(self._path, files, log, NEWEST, seen))
        half = self.file.with_suffix(".part")
        try:
            descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(content)
                out.flush()
                os.fsync(descriptor)
            half.replace(self.file)
        except OSError as error:
            with suppress(OSError):
                half.unlink(missing_ok=True)
            raise StateError(f"cannot save positions in {self.file} ({error.strerror})") from error

    def forget(self) -> None:
        """As if the path had never been shipped."""
        self.file.unlink(missing_ok=True)

    def close(self) -> None:
        """Lets others have it."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
