"""Lines to frames: sizes, and what is passed over."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.shipping.frames import MAX_FRAME, MAX_LINE, frames, shortened
from pipeline.formats.reading.topic import topic_of

AUTH = (
    b"Nov 24 01:50:44 mx dovecot: imap-login: Login: user=<bob@example.org>, method=PLAIN, rip=192.0.2.1",
    b"Nov  4 01:50:44 mx pop3d[9]: LOGIN, user=bob, ip=[::ffff:192.0.2.1]",
)
MAIL = (
    b"Nov 24 01:50:43 mx postfix/smtpd[1]: connect from unknown[192.0.2.1]",
    b"\xff\xfe\x00",
    b"",
)
LINES = st.lists(st.sampled_from([*AUTH, *MAIL, b"x" * 200_000, b"Nov 24 01:50:44 mx dovecot: " + b"y" * 200_000]))


@given(LINES, st.integers(1, 5), st.sampled_from(["auto", "maillog", "authlog"]), st.data())
def test_every_line_is_in_one_frame_in_order_but_for_those_already_there(
    lines: list[bytes], batch: int, choice: str, data: st.DataObject
) -> None:
    ends = [sum(len(line) + 1 for line in lines[: n + 1]) for n in range(len(lines))]
    places = [0, *ends]
    skip = {topic: data.draw(st.sampled_from(places)) for topic in ("maillog", "authlog")}
    got: dict[str, list[bytes]] = {"maillog": [], "authlog": []}
    last = dict.fromkeys(got, 0)
    for frame in frames(lines, ends, choice, skip, batch):  # type: ignore[arg-type]  # a choice of the three
        assert 1 <= frame.lines <= batch
        assert len(frame.value) <= MAX_FRAME
        assert frame.value.count(b"\n") == frame.lines - 1
        assert frame.end in ends
        assert frame.end > last[frame.topic]
        last[frame.topic] = frame.end
        got[frame.topic] += frame.value.split(b"\n")
    wanted: dict[str, list[bytes]] = {"maillog": [], "authlog": []}
    for line, end in zip(lines, ends, strict=True):
        topic = topic_of(line) if choice == "auto" else choice
        if end > skip[topic]:
            wanted[topic].append(line)
    assert got == wanted


def test_a_line_too_long_says_how_long_it_was() -> None:
    assert shortened(b"x" * MAX_LINE, MAX_LINE) == b"x" * MAX_LINE
    cut = shortened(b"x" * 300_000, 1_000_000)
    assert len(cut) <= MAX_LINE
    assert cut.endswith(b"x [sekimori: the line had 1000000 bytes]")
