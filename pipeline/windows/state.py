"""Sliding windows of one subject: a sparse, packed ring of buckets.

A subject's state is one ``bytearray``: a header of 28 bytes and entries of 24. An entry counts what one peer did in
one slot (5 s of event time). Entries grow coarser with age (5 s, then 1 min, then 10 min) and are dropped after a day;
only ``SEEN`` entries, one for each peer that ever succeeded, live for 30 days: they are the sources that a subject is
known by.

A window of length W that ends at slot e covers (e - W, e], in steps of ``resolution(W)``: 5 s for windows up to
10 min, 1 min up to 1 h, 10 min up to 24 h. So a window sees at most one step more than its length, never less.

**Margin.** Judging all rules on every tally would be slow, and is not needed: the header keeps the share of the
strictest limit that may still be used up before any rule could fire. Each tally takes its share (``Weights``), and
only a margin below zero calls the rules, which set it anew. Sums and distinct peers have one each. A third one, from
all that is remembered instead of the windows that end now, does the same for tallies that are late, which fall into
windows that ended before. This is exact: sums and distinct counts grow at most by what is added, and windows that
move on only lose.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from pipeline.windows.peers import NOBODY, digest
from schemas.tally import Tally

SLOT: Final = 5  # seconds
LATENESS: Final = 600  # seconds: windows that ended up to this long ago are still judged
GRACE: Final = 3  # slots: a tally this much behind the subject's latest one counts as in order
FINE: Final = (600 + LATENESS) // SLOT  # slots; older entries are kept by the minute
COARSE: Final = (3600 + LATENESS) // SLOT  # older ones by ten minutes
RETENTION: Final = (86400 + LATENESS) // SLOT
KNOWN: Final = 30 * 86400 // SLOT
MAX_ENTRIES: Final = 4096  # of one subject: 98 kB; beyond, old entries forget who the peer was

SEND, ERROR, SEEN, SENDER, ACCUSED = b"S\0", b"E\0", b"K\0", b"F\0", b"A\0"

# Margins of sums, of distinct peers, and for late tallies; latest slot, ask until slot, ask from slot, compact at
# (entries), has errors.
HEADER: Final = struct.Struct("<fffIIIHH")
ENTRY: Final = struct.Struct("<I2s2s8sHHHH")  # slot, kind, country, peer, four counters
_TAIL: Final = struct.Struct("<HHHH")
_SLOT: Final = struct.Struct("<I")
_unpack_header = HEADER.unpack_from
_pack_header = HEADER.pack_into
_pack_entry = struct.Struct("<I12sHHHH").pack
_pack_slot = _SLOT.pack
_unpack_slot = _SLOT.unpack_from
_pack_counters, _unpack_tail, _pack_tail = _TAIL.pack, _TAIL.unpack_from, _TAIL.pack_into
HEAD: Final = HEADER.size
SIZE: Final = ENTRY.size
_NEAR: Final = 8 * SIZE
_FULL: Final = 65535
NEVER: Final = 0xFFFFFFFF
ROUNDING: Final = 1e-3  # of a margin kept as a 32-bit float
NOT, ACCUSE, ALL = 0, 1, 2
_FIRST_COMPACTION: Final = 24

Entry = tuple[int, bytes, bytes, bytes, int, int, int, int]
"""(slot, kind, country, peer, counters). SEND: messages, recipients, failed, webmail. ERROR: errors, errors_mta,
errors_sasl, 0. SEEN: slot is the latest success, the first two counters together the slot of the first one."""


@dataclass(frozen=True)
class Weights:
    """How much of the margin one unit takes: 1 / the strictest limit of any rule; 0 where no rule looks.

    ``recent``, ``failing_recent``: slots; a peer that succeeds, or fails, again within the shortest window for distinct
    peers takes nothing.
    """

    message: float = 0.0
    webmail: float = 0.0
    recipient: float = 0.0
    failed: float = 0.0
    error: float = 0.0
    source: float = 0.0
    sender: float = 0.0
    failing_source: float = 0.0
    peer_error: float = 0.0
    recent: int = 1
    failing_recent: int = 1


def resolution(window: int) -> int:
    """Step of a window of that many seconds, in slots."""
    return 1 if window <= 600 else 12 if window <= 3600 else 120


def new_state() -> bytearray:
    """A subject of which nothing is known: margin 1."""
    return bytearray(HEADER.pack(1.0, 1.0, 1.0, 0, 0, NEVER, _FIRST_COMPACTION, 0))


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


def add(state: bytearray, tally: Tally, origin: Origin, weights: Weights) -> int:
    """Counts a tally in place. Returns whether rules must be asked: NOT, or ALL (the margin is used up, or the tally
    is of a kind that always asks: an accusation, a success from where errors came), or ACCUSE (only whether its
    peer is to be accused).
    """
    margin, peer_margin, late_margin, latest, until, since, compact_at, failed_before = _unpack_header(state)
    slot = int(tally.at) // SLOT
    packed = _pack_slot(slot)
    late = slot < latest - GRACE
    ask = slot >= since
    takes = peers = 0.0  # every limit is about one metric, so that the largest share is what any of them can lose
    messages, failed = tally.messages, tally.failed
    if messages or failed:
        recipients, webmail = tally.recipients, tally.webmail
        takes = messages * weights.message
        share = recipients * weights.recipient
        if share > takes:
            takes = share
        if failed or webmail:
            takes = max(takes, failed * weights.failed, webmail * weights.webmail)
        _count(state, packed, origin.send, messages, recipients, failed, webmail)
    if tally.successes and origin.peer != NOBODY:
        peers = _see(state, slot, origin.seen, weights)
    if tally.errors or tally.errors_mta or tally.errors_sasl:
        errors = tally.errors + max(tally.errors_mta, tally.errors_sasl)
        takes = max(takes, errors * weights.error)
        at = state.rfind(origin.error, HEAD)
        if at < 0 or _unpack_slot(state, at - 4)[0] <= slot - weights.failing_recent:
            peers = max(peers, weights.failing_source)
        _count(state, packed, origin.error, tally.errors, tally.errors_mta, tally.errors_sasl, 0)
        failed_before = 1
    if failed_before and tally.successes and not ask:
        ask = _errors(state, origin.error) * weights.peer_error >= 1.0
    if tally.accused:
        _count(state, packed, origin.accused, 1, 0, 0, 0)
        ask = True
    if tally.senders:
        peers = max(peers, len(tally.senders) * weights.sender)
        for sender in tally.senders:
            _count(state, packed, SENDER + origin.country + digest(sender), 1, 0, 0, 0)
    margin -= takes
    peer_margin -= peers
    late_margin -= takes if takes > peers else peers
    if slot > latest:
        latest = slot
    if len(state) >= HEAD + compact_at * SIZE:
        compact(state, latest)
        ask = True  # sources that are forgotten count as unknown from now on
        compact_at = min(max(_FIRST_COMPACTION, 2 * (len(state) - HEAD) // SIZE), MAX_ENTRIES * 2)
    _pack_header(state, 0, margin, peer_margin, late_margin, latest, until, since, compact_at, failed_before)
    if ask or margin <= ROUNDING or peer_margin <= ROUNDING or (late and late_margin <= ROUNDING):
        return ALL
    return ACCUSE if latest < until else NOT


def _errors(state: bytearray, tag: bytes) -> int:
    """At most so many password errors of that peer are in the state."""
    errors, at = 0, state.find(tag, HEAD)
    while at > 0:
        if (at - HEAD) % SIZE == 4:
            errors += sum(_TAIL.unpack_from(state, at + 12))
        at = state.find(tag, at + 12)
    return errors


def _count(state: bytearray, slot: bytes, tag: bytes, a: int, b: int, c: int, d: int) -> None:
    """Adds to the entry of (slot, tag) if it is one of the latest, else appends one."""
    at = state.rfind(slot + tag, -_NEAR)
    if at > 0 and (at - HEAD) % SIZE == 0:
        a0, b0, c0, d0 = _unpack_tail(state, at + 16)
        a0 += a
        b0 += b
        c0 += c
        d0 += d
        if a0 <= _FULL and b0 <= _FULL and c0 <= _FULL and d0 <= _FULL:
            _pack_tail(state, at + 16, a0, b0, c0, d0)
            return
    try:
        state += slot + tag + _pack_counters(a, b, c, d)
    except struct.error:  # one second's count of one subject does not fit: it is above any limit anyway
        state += slot + tag + _pack_counters(min(a, _FULL), min(b, _FULL), min(c, _FULL), min(d, _FULL))


def _see(state: bytearray, slot: int, tag: bytes, weights: Weights) -> float:
    """Notes a success of a peer; returns what it takes of the margin."""
    at = state.find(tag, HEAD)
    while at > 0 and (at - HEAD) % SIZE != 4:
        at = state.find(tag, at + 1)
    if at < 0:
        state += _pack_entry(slot, tag, slot & 0xFFFF, slot >> 16, 0, 0)
        return weights.source
    (last,) = _unpack_slot(state, at - 4)
    if slot > last:
        _SLOT.pack_into(state, at - 4, slot)
    elif slot < _SLOT.unpack_from(state, at + 12)[0]:
        _SLOT.pack_into(state, at + 12, slot)
    return 0.0 if last > slot - weights.recent else weights.source


def compact(state: bytearray, now: int) -> None:
    """Drops what is too old, makes old entries coarser and merges those that are then alike. In place.

    Sums and distinct counts of every window that may still be asked for stay what they were.
    """
    merged: dict[tuple[int, bytes], list[int]] = {}
    seen: list[tuple[int, bytes, int]] = []
    for slot, kind, country, peer, *counters in entries(state):
        age = now - slot
        tag = kind + country + peer
        if kind == SEEN:
            if age <= KNOWN:
                seen.append((slot, tag, counters[0] | counters[1] << 16))
            continue
        if age > RETENTION:
            continue
        step = 1 if age <= FINE else 12 if age <= COARSE else 120
        _merge(merged, (slot - slot % step, tag), counters)
    if len(merged) > MAX_ENTRIES:
        merged = _forget_peers(merged)
    seen.sort(reverse=True)
    packed = bytearray(state[:HEAD])
    for slot, tag, first in reversed(seen[:MAX_ENTRIES]):
        packed += _pack_entry(slot, tag, first & 0xFFFF, first >> 16, 0, 0)
    for (slot, tag), counters in sorted(merged.items()):
        while max(counters) > _FULL:
            part = [min(n, _FULL) for n in counters]
            packed += _pack_entry(slot, tag, *part)
            counters[:] = [n - p for n, p in zip(counters, part, strict=True)]
        packed += _pack_entry(slot, tag, *counters)
    state[:] = packed


def _merge(into: dict[tuple[int, bytes], list[int]], key: tuple[int, bytes], counters: Iterable[int]) -> None:
    have = into.get(key)
    if have is None:
        into[key] = list(counters)
    elif key[1][:2] not in (SENDER, ACCUSED):
        for i, n in enumerate(counters):
            have[i] += n


def _forget_peers(merged: dict[tuple[int, bytes], list[int]]) -> dict[tuple[int, bytes], list[int]]:
    """The older half keeps its sums, but not who the peers were."""
    keys = sorted(merged)
    kept: dict[tuple[int, bytes], list[int]] = {}
    for slot, tag in keys[: -MAX_ENTRIES // 2]:
        if tag[:2] in (SEND, ERROR):
            _merge(kept, (slot - slot % 120, tag[:4] + NOBODY), merged[slot, tag])
    kept.update((key, merged[key]) for key in keys[-MAX_ENTRIES // 2 :])
    return kept


def entries(state: bytes | bytearray) -> list[Entry]:
    """The entries of a state, in no particular order."""
    return list(ENTRY.iter_unpack(memoryview(state)[HEAD:]))


def latest(state: bytes | bytearray) -> int:
    """The latest slot counted."""
    slot: int = HEADER.unpack_from(state)[3]
    return slot


def judged(state: bytearray, margin: float, peer_margin: float, late_margin: float, until: int, since: int) -> None:
    """Notes what the rules found: the margins that are left, until which slot every tally is to be judged, and from
    which slot on (``NEVER`` if none) the next one is."""
    *_, now, _, _, compact_at, failed_before = HEADER.unpack_from(state)
    HEADER.pack_into(state, 0, margin, peer_margin, late_margin, now, until, since, compact_at, failed_before)
