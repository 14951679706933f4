"""Counting: tallies into the bytes of one subject, and what is old made coarser. ``layout`` draws the bytes.

Every tally also takes its share of the subject's margins, and says when one is used up; what margins are for, and how
large they are, is told in ``detect.judge``.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from pipeline.windows.layout import (
    ACCUSED,
    COARSE,
    COUNTERS,
    COUNTERS_AT,
    ERROR,
    FINE,
    FIRST_COMPACTION,
    FULL,
    GRACE,
    HEAD,
    HEADER,
    KNOWN,
    MARK,
    MAX_ENTRIES,
    RETENTION,
    SEEN,
    SEND,
    SENDER,
    SIZE,
    SLOT,
    SLOT_FIELD,
    TAG_AT,
    TAG_SIZE,
    entries,
    first_slot,
    has_entries_of,
    header,
)
from pipeline.windows.origins import Origin
from pipeline.windows.peers import NOBODY, digest
from schemas.tally import Tally

_unpack_header, _pack_header = HEADER.unpack_from, HEADER.pack_into
_pack_slot, _unpack_slot, _pack_slot_into = SLOT_FIELD.pack, SLOT_FIELD.unpack_from, SLOT_FIELD.pack_into
_pack_counters, _unpack_counters, _pack_counters_into = COUNTERS.pack, COUNTERS.unpack_from, COUNTERS.pack_into
_pack_entry = struct.Struct("<I12sHHHH").pack  # with its tag in one piece
_NEAR: Final = 8 * SIZE  # so far back the entry of the same slot and tag is looked for
ROUNDING: Final = 1e-3  # of a margin kept as a 32-bit float
NOT, ACCUSE, ALL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Weights:
    """How much of a margin one of each takes; 0 where no rule looks. One for each ``metrics.Unit``.

    ``recent``, ``failing_recent``: slots. A peer that succeeds, or fails, again within so many takes nothing, since
    it cannot have left any window in between; but if it is late, a window may begin in between (``layout.MARK``).
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


def add(state: bytearray, tally: Tally, origin: Origin, weights: Weights) -> int:
    """Counts a tally in place. Returns whether rules must be asked: NOT, or ALL (a margin is used up, or the tally
    is of a kind that always asks: an accusation, a success from where errors came), or ACCUSE (only whether its
    peer is to be accused).
    """
    sums, peers, late_margin, latest, accuse_until, ask_from, compact_at, failed_before = _unpack_header(state)
    slot = int(tally.at) // SLOT
    packed = _pack_slot(slot)
    late = slot < latest - GRACE
    ask = slot >= ask_from
    takes = takes_peers = 0.0  # every limit is about one metric, so that the largest share is what any of them can lose
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
        takes_peers = _see(state, slot, origin.seen, weights, late)
    if tally.errors or tally.errors_mta or tally.errors_sasl:
        errors = tally.errors + max(tally.errors_mta, tally.errors_sasl)
        takes = max(takes, errors * weights.error)
        at = _rfind(state, origin.error)
        if late or at < 0 or _unpack_slot(state, at - TAG_AT)[0] <= slot - weights.failing_recent:
            takes_peers = max(takes_peers, weights.failing_source)
        _count(state, packed, origin.error, tally.errors, tally.errors_mta, tally.errors_sasl, 0)
        failed_before = 1
    if failed_before and tally.successes and not ask:
        ask = _errors(state, origin.error) * weights.peer_error >= 1.0
    if tally.accused:
        _count(state, packed, origin.accused, 1, 0, 0, 0)
        ask = True
    if tally.senders:
        takes_peers = max(takes_peers, len(tally.senders) * weights.sender)
        for sender in tally.senders:
            _count(state, packed, SENDER + origin.country + digest(sender), 1, 0, 0, 0)
    sums -= takes
    peers -= takes_peers
    late_margin -= takes if takes > takes_peers else takes_peers
    if slot > latest:
        latest = slot
    if len(state) >= HEAD + compact_at * SIZE:
        compact(state, latest)
        ask, late_margin = True, 0.0  # errors of sources that are forgotten count as guesses from now on
        compact_at = min(max(FIRST_COMPACTION, 2 * (len(state) - HEAD) // SIZE), MAX_ENTRIES * 2)
    _pack_header(state, 0, sums, peers, late_margin, latest, accuse_until, ask_from, compact_at, failed_before)
    if ask or sums <= ROUNDING or peers <= ROUNDING or (late and late_margin <= ROUNDING):
        return ALL
    return ACCUSE if latest < accuse_until else NOT


def write_margins(state: bytearray, sums: float, peers: float, late: float, accuse_until: int, ask_from: int) -> None:
    """Writes what ``detect.judge`` found into the header; see ``WindowsHeader`` for the fields."""
    of = header(state)._replace(sums=sums, peers=peers, late=late, accuse_until=accuse_until, ask_from=ask_from)
    _pack_header(state, 0, *of)


def _rfind(state: bytearray, tag: bytes) -> int:
    """Where the tag of the entry stands that was last appended with it; -1 if there is none."""
    at = state.rfind(tag, HEAD)
    while at >= 0 and (at - HEAD) % SIZE != TAG_AT:  # across two entries
        at = state.rfind(tag, HEAD, at + TAG_SIZE - 1)
    return at


def _errors(state: bytearray, tag: bytes) -> int:
    """At most so many password errors of that peer are in the state."""
    errors, at = 0, state.find(tag, HEAD)
    while at >= 0:
        if (at - HEAD) % SIZE == TAG_AT:
            errors += sum(_unpack_counters(state, at + TAG_SIZE))
        at = state.find(tag, at + 1)
    return errors


def _count(state: bytearray, slot: bytes, tag: bytes, a: int, b: int, c: int, d: int) -> None:
    """Adds to the entry of (slot, tag) if it is one of the latest, else appends one."""
    at = state.rfind(slot + tag, -_NEAR)
    if at > 0 and (at - HEAD) % SIZE == 0:
        a0, b0, c0, d0 = _unpack_counters(state, at + COUNTERS_AT)
        a0 += a
        b0 += b
        c0 += c
        d0 += d
        if a0 <= FULL and b0 <= FULL and c0 <= FULL and d0 <= FULL:
            _pack_counters_into(state, at + COUNTERS_AT, a0, b0, c0, d0)
            return
    try:
        state += slot + tag + _pack_counters(a, b, c, d)
    except struct.error:  # one second's count of one subject does not fit: it is above any limit anyway
        state += slot + tag + _pack_counters(min(a, FULL), min(b, FULL), min(c, FULL), min(d, FULL))


def _see(state: bytearray, slot: int, tag: bytes, weights: Weights, late: bool) -> float:
    """Notes a success of a peer; returns what it takes of the margin."""
    at = state.find(tag, HEAD)
    while at >= 0 and (at - HEAD) % SIZE != TAG_AT:  # across two entries
        at = state.find(tag, at + 1)
    if at < 0:
        state += _pack_entry(slot, tag, slot & 0xFFFF, slot >> 16, 0, 0)
        return weights.source
    (last,) = _unpack_slot(state, at - TAG_AT)
    if slot > last:
        _pack_slot_into(state, at - TAG_AT, slot)
        if late:
            return weights.source
    elif slot < _unpack_slot(state, at + TAG_SIZE)[0]:  # the first success, where others have counters
        _pack_slot_into(state, at + TAG_SIZE, slot)
    return 0.0 if last > slot - weights.recent else weights.source


def compact(state: bytearray, now: int) -> None:
    """Drops what is too old, makes old entries coarser and merges those that are then alike. In place.

    Sums and distinct counts of every window that may still be asked for stay what they were.
    """
    merged: dict[tuple[int, bytes], list[int]] = {}
    marks = _marks(state)
    seen: list[tuple[int, bytes, int]] = []
    for entry in entries(state):
        slot, kind, country, peer, *counters = entry
        age = now - slot
        tag = kind + country + peer
        if kind == SEEN:
            if age <= KNOWN:
                seen.append((slot, tag, first_slot(entry)))
            continue
        if age > RETENTION:
            continue
        step = 1 if age <= FINE or kind == MARK else 12 if age <= COARSE else 120
        _merge(merged, (_coarse(slot, step, marks) if marks else slot - slot % step, tag), counters)
    if len(merged) > MAX_ENTRIES:
        merged = _forget_peers(merged, marks)
    seen.sort(reverse=True)
    packed = bytearray(state[:HEAD])
    for slot, tag, first in reversed(seen[:MAX_ENTRIES]):
        packed += _pack_entry(slot, tag, first & 0xFFFF, first >> 16, 0, 0)
    for (slot, tag), counters in sorted(merged.items()):
        while max(counters) > FULL:
            part = [min(n, FULL) for n in counters]
            packed += _pack_entry(slot, tag, *part)
            counters[:] = [n - p for n, p in zip(counters, part, strict=True)]
        packed += _pack_entry(slot, tag, *counters)
    state[:] = packed


def mark(state: bytearray, slot: int) -> None:
    """From now on what is counted up to that slot stays apart from what is counted later, see ``layout.MARK``."""
    state += _pack_entry(slot, MARK + bytes(TAG_SIZE - len(MARK)), 0, 0, 0, 0)


def _marks(state: bytearray) -> list[int]:
    return [e[0] for e in entries(state) if e[1] == MARK] if has_entries_of(state, MARK) else []


def _coarse(slot: int, step: int, marks: list[int]) -> int:
    """The first slot of the step, or the first one after a mark that lies in between."""
    start = slot - slot % step
    return max([start, *(at + 1 for at in marks if at < slot)])


def _merge(into: dict[tuple[int, bytes], list[int]], key: tuple[int, bytes], counters: Iterable[int]) -> None:
    have = into.get(key)
    if have is None:
        into[key] = list(counters)
    elif key[1][:2] not in (SENDER, ACCUSED):
        for i, n in enumerate(counters):
            have[i] += n


def _forget_peers(merged: dict[tuple[int, bytes], list[int]], marks: list[int]) -> dict[tuple[int, bytes], list[int]]:
    """The older half keeps its sums, but not who the peers were."""
    keys = sorted(merged)
    kept: dict[tuple[int, bytes], list[int]] = {}
    for slot, tag in keys[: -MAX_ENTRIES // 2]:
        if tag[:2] in (SEND, ERROR):
            _merge(kept, (_coarse(slot, 120, marks), tag[:4] + NOBODY), merged[slot, tag])
        elif tag[:2] == MARK:
            kept[slot, tag] = merged[slot, tag]
    kept.update((key, merged[key]) for key in keys[-MAX_ENTRIES // 2 :])
    return kept
