"""Lines to frames: the topic of a line, sizes, what is passed over."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.files.frames import MAX_FRAME, MAX_LINE, frames, shortened, topic_of

AUTH = (
    b"Nov 24 01:50:44 mx dovecot: imap-login: Login: user=<bob@example.org>, method=PLAIN, rip=192.0.2.1",
    b"Nov 24 01:50:44 mx dovecot[311]: auth-worker(312): conn unix:auth-worker: pam(bob): unknown user",
    b"2026-11-24T01:50:44.123456+00:00 mx dovecot: auth: passwd-file(bob,192.0.2.1): Password mismatch",
    b"Nov 24 01:50:44 imap-login: Info: Login: user=<bob@example.org>",
    b"2026-11-24 01:50:44 auth: Info: passwd-file(bob,192.0.2.1,<AwA68PtgmFjGEg5J>): Password mismatch",
    b"Nov 24 01:50:44 imap(bob@example.org)<123><AwA68Ptg>: Info: Logged out in=1 out=2",
    b"Nov 24 01:50:44 pop3-login: Info: Disconnected: Aborted login (auth failed, 1 attempts)",
    b"Nov  4 01:50:44 mx pop3d[9]: LOGIN, user=bob, ip=[::ffff:192.0.2.1]",
    b"Nov 24 01:50:44 mx saslauthd[77]: do_auth: auth failure: [user=bob]",
    b"Nov 24 01:50:44 mx cyrus/imaps[5]: badlogin: host [192.0.2.1] plaintext bob",
    b"<22>1 2026-11-24T01:50:44.123456+00:00 mx dovecot 311 - - imap-login: Login: user=<bob>",
    b"<22>Nov 24 01:50:44 mx dovecot: managesieve-login: Disconnected",
    b"Nov 24 01:50:44 managesieve-login: Info: Login: user=<bob>",
)
MAIL = (
    b"Nov 24 01:50:43 mx postfix/smtpd[1]: connect from unknown[192.0.2.1]",
    b"Nov 24 01:50:43 mx postfix/submission/smtpd[1]: 4F1: client=x[192.0.2.1], sasl_username=bob",
    b"Nov 24 01:50:43 dovecot postfix/smtpd[1]: a host may have any name",
    b"Nov 24 01:50:43 mx postfix/smtpd[1]: lost connection from x[192.0.2.1] Nov 24 01:50:43 mx dovecot: auth: x",
    b"Nov 24 01:50:43 mx postfix/smtpd[1]: NOQUEUE: reject: helo=<mx dovecot: imap-login: Login: user=>",
    b"2026-11-24T01:50:43.123456+00:00 mx postfix/lmtp[3]: 4F1: to=<a@b>, relay=x[private/dovecot-lmtp], status=sent",
    b"<22>1 2026-11-24T01:50:43+00:00 mx postfix/qmgr 1 - - 4F1: removed",
    b"Nov 24 01:50:43 mx roundcube: <a1b2> Successful login for bob",
    b"Nov 24 01:50:43 mx exim[5]: 1a-b-c <= bob@example.org H=x [192.0.2.1] A=dovecot_login:bob",
    b"dovecot: imap-login: no time, no program that can be told",
    b"Nov 24 01:50:44 mx authentic[1]: another program",
    b"\xff\xfe\x00",
    b"",
)


@pytest.mark.parametrize("line", AUTH)
def test_lines_of_access_servers_go_to_authlog(line: bytes) -> None:
    assert topic_of(line) == "authlog"


@pytest.mark.parametrize("line", MAIL)
def test_all_others_go_to_maillog_whatever_a_client_wrote(line: bytes) -> None:
    assert topic_of(line) == "maillog"


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
