"""The zone of this host, as the shipper tells it: by its name where that is known, else by its offset."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pipeline.normalize.zones import zone_of

ROOT = Path("/")
_FOLDER = "zoneinfo/"


def host_zone(env: Mapping[str, str], root: Path = ROOT) -> Callable[[int], str]:
    """For a time, in milliseconds since 1970: the zone. ``env``: its ``TZ`` goes before ``/etc/localtime``."""
    name = _of_variable(env["TZ"]) if env.get("TZ") else _of_file(root)
    return (lambda at_ms: name) if name else _offset


def _of_variable(value: str) -> str:
    return _known(value.removeprefix(":").rpartition(_FOLDER)[2])


def _of_file(root: Path) -> str:
    """A link says it by where it leads; of a copy the name may stand in ``/etc/timezone``, if it is that zone's."""
    link = root / "etc/localtime"
    try:
        if link.is_symlink():
            return _known(str(link.readlink()).rpartition(_FOLDER)[2])
        name = _known((root / "etc/timezone").read_text(encoding="utf-8").strip())
        same = name and (root / "usr/share/zoneinfo" / name).read_bytes() == link.read_bytes()
    except (OSError, UnicodeDecodeError):
        return ""
    return name if same else ""


def _known(name: str) -> str:
    return name if zone_of(name) is not None else ""


def _offset(at_ms: int) -> str:
    """Of this process at that time."""
    minutes = time.localtime(at_ms / 1000).tm_gmtoff // 60
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
