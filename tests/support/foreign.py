"""What others may have written: records of every shape, most of them near to messages of ours."""

import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from pipeline.ports import Record
from schemas.codec import encode
from schemas.dead_letter import EXAMPLES as DEAD_LETTERS
from schemas.enforcement import EXAMPLES as DECISIONS
from schemas.event import EXAMPLES as EVENTS
from schemas.setting import EXAMPLES as SETTINGS
from schemas.tally import EXAMPLES as TALLIES

MESSAGES: dict[str, tuple[Any, ...]] = {
    "events": EVENTS,
    "tallies": TALLIES,
    "enforcement": DECISIONS,
    "settings": SETTINGS,
    "dead-letters": DEAD_LETTERS,
}

SPELLED: dict[str, bytes] = {
    "@1000": b"[" * 1000 + b"]" * 1000,
    "@100000": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "@40": b"[" * 40 + b"]" * 40,
    "@400": b"1" + b"0" * 400,
    "@5000": b"1" + b"0" * 5000,
    "@e400": b"1e400",
    "@-e400": b"-1e400",
    "@0.5": b"0.5",
    "@nan": b"NaN",
    "@surrogate": rb'"\ud800"',
    "@bytes": b'"\xff\xfe"',
}
"""JSON that no encoder writes, by the text that stands for it until the message is whole."""

TIMES = ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-11-24T01:00:00", "1969-12-31T23:59:59Z")
STRANGE = st.one_of(
    st.sampled_from([*SPELLED, *TIMES, "", "*", "a:b:c", "198.51.100.7", "2001:db8::/64", "x" * 5000]),
    st.sampled_from([None, True, 0, -1, 65_536, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63), 1e308, -0.0]),
    st.sampled_from([[], {}, ["a"], {"a": "b"}, {"seconds": "@5000"}, {"pool": "@40"}, {"except_sources": ["@400"]}]),
    st.text(max_size=12),
    st.integers(),
)


def _places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in inner:
        yield (*path, name)
        yield from _places(value, (*path, name))


@st.composite
def changed_messages(draw: Callable[..., Any], topic: str) -> bytes:
    """Frames of messages of ours in which something strange stands somewhere."""
    lines = []
    for _ in range(draw(st.integers(1, 2))):
        document = json.loads(encode(draw(st.sampled_from(MESSAGES[topic]))))
        for _ in range(draw(st.integers(0, 2))):
            *path, last = draw(st.sampled_from(list(_places(document))))
            place = document
            for step in path:
                place = place[step] if isinstance(place, dict | list) else {}
            if isinstance(place, dict) or (isinstance(place, list) and isinstance(last, int) and last < len(place)):
                place[last] = deepcopy(draw(STRANGE))
        line = json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
        for text, spelled in SPELLED.items():
            line = line.replace(json.dumps(text).encode(), spelled)
        lines.append(line)
    return b"\n".join(lines) if topic not in {"enforcement", "settings"} else lines[0]


def values(topic: str) -> st.SearchStrategy[bytes | None]:
    """Of messages on a topic."""
    spelled = st.sampled_from(list(SPELLED.values()))
    return (
        st.none()
        | st.binary(max_size=30)
        | spelled
        | st.one_of(map(changed_messages, MESSAGES))
        | changed_messages(topic)
    )


KEYS = st.one_of(
    st.none(),
    st.binary(max_size=8),
    st.sampled_from([message.key.encode() for message in (*DECISIONS, *SETTINGS)]),
    st.sampled_from(
        [b"account:x:\xff", b"account:x:a", b"planet:x:a", b"::", b"allow:account:", b"allow:ip:999.1.1.1"]
    ),
)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["source", "offset", "actor", "note", "at", "reason", ""]),
        st.one_of(
            st.none(),
            st.binary(max_size=6),
            st.sampled_from(
                [
                    b"maillog-0",
                    b"authlog-3+1",
                    b"maillog-0\n",
                    b"maillog--1",
                    b"tallies-0",
                    b"\xff",
                    b"7",
                    b"-1",
                    b"\xc2\xb2",
                ]
            ),
            st.sampled_from([b"%d" % (2**64), b"%d" % (2**63 - 1), b"9" * 5000, b"1_0", b" 7", b"999999999"]),
        ),
    ),
    max_size=4,
).map(tuple)
STAMPS = st.sampled_from([0, -1, 1_795_500_000_000, 2**63 - 1, -(2**63)]) | st.integers(-(2**63), 2**63 - 1)


def records(topic: str, offset: int = 7) -> st.SearchStrategy[Record]:
    """Anything that may lie on a topic."""
    return st.builds(Record, st.just(topic), st.just(0), st.just(offset), STAMPS, KEYS, values(topic), HEADERS)
