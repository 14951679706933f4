"""What a subject's windows look like in memory and in saved states: one ``bytearray``, a header and entries.

An entry counts what one peer did in one slot, which is 5 s of event time::

    header, 28 bytes (HEAD)
     0        4        8        12       16             20         24           26              28
    | sums   | peers  | late   | latest | accuse_until | ask_from | compact_at | failed_before |
      float    float    float    slot     slot           slot       entries      0 or 1

    entry, 24 bytes (SIZE), one after the other
     0      4      6         8                16     18     20     22     24
    | slot | kind | country | peer           | four counters             |
             <-------- tag, 12 bytes ------->
             TAG_AT                          COUNTERS_AT

A tag can be searched for in the bytes, and lies at ``TAG_AT`` of an entry; the same bytes may also be found elsewhere,
across two entries, and are then no tag. Everything is little-endian.

Entries grow coarser with age, so that a day fits, and windows go in steps of the same size (``resolution``)::

    latest                                                                                            the past
      |<- GRACE ->|
      |<------ LATENESS, 10 min ------>|                         lines that come late are judged back to here
      |<-- FINE: 10 min + LATENESS, 5 s ------>|
      |<-- COARSE: 1 h + LATENESS, by the minute ------------->|
      |<-- RETENTION: 24 h + LATENESS, by ten minutes --------------------------------->|
      |<-- KNOWN: 30 days, only SEEN: which peers ever succeeded, and when last ----------------------- ... ->|

A window of length W that ends at slot e covers (e - W, e], in whole steps. So it sees at most one step more than its
length, never less. Windows that ended up to ``LATENESS`` ago can still be asked for, which is why each age is kept for
so much longer than the windows that need it.
"""

import struct
from typing import Final, NamedTuple

SLOT: Final = 5  # seconds
LATENESS: Final = 600  # seconds: windows that ended up to this long ago are still judged
GRACE: Final = 3  # slots: a tally this much behind the subject's latest one counts as in order
FINE: Final = (600 + LATENESS) // SLOT  # slots; older entries are kept by the minute
COARSE: Final = (3600 + LATENESS) // SLOT  # older ones by ten minutes
RETENTION: Final = (86400 + LATENESS) // SLOT
KNOWN: Final = 30 * 86400 // SLOT
MAX_ENTRIES: Final = 4096  # of one subject: 98 kB; beyond, old entries forget who the peer was
FIRST_COMPACTION: Final = 24  # entries

SEND, ERROR, SEEN, SENDER, ACCUSED, MARK = b"S\0", b"E\0", b"K\0", b"F\0", b"A\0", b"M\0"
NOWHERE: Final = b"\0\0"  # the country of what nobody knows where it comes from
NEVER: Final = 0xFFFFFFFF  # a slot that does not come
FULL: Final = 65535  # as much as a counter holds

HEADER: Final = struct.Struct("<fffIIIHH")
ENTRY: Final = struct.Struct("<I2s2s8sHHHH")
HEAD: Final = HEADER.size
SIZE: Final = ENTRY.size
TAG_AT: Final = 4
COUNTERS_AT: Final = 16
TAG_SIZE: Final = COUNTERS_AT - TAG_AT
COUNTERS: Final = struct.Struct("<HHHH")
SLOT_FIELD: Final = struct.Struct("<I")

Entry = tuple[int, bytes, bytes, bytes, int, int, int, int]
"""(slot, kind, country, peer, counters). What the counters are, by kind:

* SEND: messages, recipients, recipients that do not exist, messages by webmail
* ERROR: errors, errors_mta, errors_sasl, 0
* SEEN, one for each peer, ``slot`` is that of its latest success: the slot of its first one in two halves, 0, 0
* SENDER (the peer is the digest of an envelope sender), ACCUSED: 1, 0, 0, 0
* MARK: 0, 0, 0, 0. What was counted up to its slot, and what was counted later, are never merged, so that rules can be
  asked about the later alone (``View.since``)
"""


class WindowsHeader(NamedTuple):
    """``sums``, ``peers``, ``late``: margins, see ``detect.judge``. ``latest``: slot of the latest tally.

    ``accuse_until``: before that slot a restriction runs whose rule accuses networks. ``ask_from``: from that slot on
    the next tally is judged whatever it adds. ``compact_at``: number of entries. ``failed_before``: 1 once there was a
    password error.
    """

    sums: float
    peers: float
    late: float
    latest: int
    accuse_until: int
    ask_from: int
    compact_at: int
    failed_before: int


_NEW: Final = HEADER.pack(*WindowsHeader(1.0, 1.0, 1.0, 0, 0, NEVER, FIRST_COMPACTION, 0))


def new_state() -> bytearray:
    """A subject of which nothing is known: all of its margins are left."""
    return bytearray(_NEW)


def header(state: bytes | bytearray) -> WindowsHeader:
    """The header, by name."""
    return WindowsHeader._make(HEADER.unpack_from(state))


def latest(state: bytes | bytearray) -> int:
    """The latest slot counted."""
    slot: int = HEADER.unpack_from(state)[3]
    return slot


def entries(state: bytes | bytearray) -> list[Entry]:
    """The entries of a state, in no particular order."""
    return list(ENTRY.iter_unpack(memoryview(state)[HEAD:]))


def has_entries_of(state: bytes | bytearray, *kinds: bytes) -> bool:
    """Is there an entry of one of the kinds?"""
    letters = state[HEAD + TAG_AT :: SIZE]
    return any(kind[0] in letters for kind in kinds)


def is_whole(state: bytes | bytearray) -> bool:
    """Is it as long as a header and whole entries are?"""
    return len(state) >= HEAD and (len(state) - HEAD) % SIZE == 0


def first_slot(seen: Entry) -> int:
    """The slot of the first success that a SEEN entry tells of."""
    return seen[4] | seen[5] << 16


def resolution(window: int) -> int:
    """Step of a window of that many seconds, in slots."""
    return 1 if window <= 600 else 12 if window <= 3600 else 120
