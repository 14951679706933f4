"""Country look-up in a MaxMind DB file: GeoLite2, GeoIP2, DB-IP (``country.iso_code``) or ip-location-db
(``country_code``). The bare reader is used: it is a hundred times faster than geoip2's objects, and geoip2 refuses
some database types."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import maxminddb


class GeoFileError(ValueError):
    """The file is no MaxMind DB or holds no countries."""


class GeoFile:
    """Callable: canonical address -> ISO 3166 code, "" if unknown. ``reload_if_changed`` follows a replaced file.

    ``path`` None: no country is known. ``edition``: another one for each file that was opened.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp = (0, 0)
        self.edition = 0
        self._get: Callable[[str], Any] = lambda address: None
        self.reload_if_changed()

    def __call__(self, address: str) -> str:
        """The country of a canonical address."""
        try:
            record = self._get(address)
        except (ValueError, maxminddb.InvalidDatabaseError):  # an IPv6 address of a file of IPv4, or a damaged place
            return ""
        if not isinstance(record, dict):
            return ""
        code = record.get("country_code")
        if code is None:
            country = record.get("country")
            code = country.get("iso_code") if isinstance(country, dict) else None
        return code if isinstance(code, str) and len(code) == 2 else ""

    def reload_if_changed(self) -> bool:
        """Opens the file anew if it was replaced; True if so. Raises GeoFileError."""
        if self._path is None:
            return False
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_ino)
            if stamp == self._stamp:
                return False
            reader = maxminddb.open_database(self._path, maxminddb.MODE_MEMORY)
            for first in range(1, 224):  # of a file that was cut off, some places are no longer there
                with suppress(ValueError):
                    reader.get(f"{first}.9.9.9")
        except (OSError, maxminddb.InvalidDatabaseError) as error:
            raise GeoFileError(f"{self._path}: no usable MaxMind DB file: {error}") from None
        self._get, self._stamp = reader.get, stamp
        self.edition += 1
        return True
