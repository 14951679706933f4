"""A wall clock of a process that a test can set while it runs (libfaketime; Debian package of that name)."""

from pathlib import Path

CACHED = 1  # seconds after which a process looks at its clock's file again


def library() -> Path:
    """Raises AssertionError if it is not installed."""
    found = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
    assert found, "libfaketime is not installed: make servers"
    return found[0]


class Clock:
    """``environment`` makes a process go by it. Its monotonic clock stays true, as on a machine whose clock is set."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0)
        self.environment = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(path),
            "FAKETIME_CACHE_DURATION": str(CACHED),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead: int) -> None:
        """So many seconds before the true time; behind it if less than 0."""
        new = self._path.with_suffix(".new")
        new.write_text(f"{ahead:+d}\n")
        new.replace(self._path)
