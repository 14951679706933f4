"""Where a tally comes from, in the bytes that entries have for it."""

from typing import Final, NamedTuple

from pipeline.windows.layout import ACCUSED, ERROR, NOWHERE, SEEN, SEND
from pipeline.windows.peers import NOBODY, digest, pack_network
from schemas.tally import Tally

MAX_ORIGINS: Final = 1 << 18  # remembered, of each kind of subject


class Origin(NamedTuple):
    """Country (2 bytes) and peer (8 bytes), zeros where unknown or none, and the tags that entries have for them."""

    country: bytes
    peer: bytes
    send: bytes
    error: bytes
    seen: bytes
    accused: bytes


def make_origin(country: bytes, peer: bytes) -> Origin:
    """The origin with its tags, which are worth keeping: they are needed at every tally."""
    where = country + peer
    return Origin(country, peer, SEND + where, ERROR + where, SEEN + where, ACCUSED + where)


class Origins(dict[tuple[str, str], Origin]):
    """(country, peer) -> origin, of the tallies of one kind of subject. They are kept, since the same peers come again
    and again: ask ``get`` first."""

    __slots__ = ()

    def remember(self, tally: Tally) -> Origin:
        """The origin of a tally that is not there yet. Raises ValueError if an account's peer is no network."""
        if len(self) >= MAX_ORIGINS:
            self.clear()
        peer = NOBODY
        if tally.peer:
            peer = pack_network(tally.peer) if tally.kind == "account" else digest(tally.peer)
        country = tally.country.encode() if len(tally.country) == 2 and tally.country.isascii() else NOWHERE
        origin = self[tally.country, tally.peer] = make_origin(country, peer)
        return origin
