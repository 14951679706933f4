"""Passwords in files: read when they are needed, never shown, and told of where others could read them."""

import os
import stat
from pathlib import Path

from pipeline.settings import FILE, SECRETS, Settings, SettingsError

_PRIVATE = ("kafka_password_file", "kafka_key", "kafka_key_password_file", "clickhouse_password_file", "signing_key")


def read_secret(path: Path, setting: str) -> str:
    """A file's first line, without its end. Raises SettingsError, which names ``setting``."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8"
        raise SettingsError(f"{setting}: {path} cannot be read: {why}") from None
    secret = text.partition("\n")[0].rstrip("\r")
    if not secret:
        raise SettingsError(f"{setting}: {path} must hold the password, in its first line")
    return secret


def read_by_others(settings: Settings, file: Path | None, in_file: frozenset[str]) -> list[str]:
    """A sentence for each file with a secret that every user of the host can read. ``file``: of settings, which gives
    ``in_file``."""
    found = {f"SEKIMORI_{name.upper()}": getattr(settings, name) for name in _PRIVATE}
    if file is not None and any(getattr(settings, name) for name in SECRETS & in_file):
        found[FILE] = file
    return [
        f"{name}: {path} holds a secret and can be read by every user; chmod o-rwx {path}"
        for name, path in found.items()
        if path is not None and _is_open(path)
    ]


def _is_open(path: Path) -> bool:
    try:
        return bool(os.stat(path).st_mode & stat.S_IROTH)
    except OSError:
        return False
