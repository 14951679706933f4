"""Country, network and channel of an event's address."""

from collections.abc import Iterable

from pipeline.formats.reading.programs import CHANNELS
from pipeline.networks import CountryOf, network, no_country
from schemas.event import Event


class Enricher:
    """Fills ``country``, ``network`` and ``channel``. Remembers at most ``limit`` addresses."""

    def __init__(self, lookup: CountryOf = no_country, limit: int = 200_000) -> None:
        self._lookup = lookup
        self._limit = limit
        self._known: dict[str, tuple[str, str]] = {}

    def enrich(self, counted: Iterable[tuple[Event, str]]) -> None:
        """Completes events in place, which come with their lines."""
        known = self._known
        for event, _ in counted:
            address = event.client_ip
            if address is None:
                continue
            found = known.get(address) or self._look_up(address)
            event.country, event.network = found
            event.channel = CHANNELS.get(event.service or "") or (
                "smtp" if event.method or event.kind == "submission" else "access"
            )

    def _look_up(self, address: str) -> tuple[str, str]:
        if len(self._known) >= self._limit:
            self._known.clear()
        found = (self._lookup(address), network(address))
        self._known[address] = found
        return found

    def forget(self) -> None:
        """To be called when the GeoIP file has changed."""
        self._known.clear()
