"""The topic of a line: by the program that its header names, as its format says."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats import FORMATS
from pipeline.formats.reading.format import Role
from pipeline.formats.reading.headers import read_header
from pipeline.formats.reading.lines import TABLE
from pipeline.formats.reading.stamps import Stamps
from pipeline.formats.reading.topic import topic_of
from tests.support.formats import FILES, REFERENCE

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
PROGRAMS = (
    b"Nov 24 01:50:44 mx perdition[7]: Auth: x",
    b"Nov 24 01:50:44 mx perdition.imap4s[7]: Auth: x",
    b"Nov 24 01:50:44 mx popa3d[7]: Authentication failed for bob",
    b"Nov 24 01:50:44 mx solid-pop3d[7]: authentication failed: bob - 192.0.2.1",
    b"Nov 24 01:50:44 mx ipop3d[7]: Login failed user=bob auth=bob host=x [192.0.2.1]",
    b"Nov 24 01:50:44 mx vpopmail[7]: vchkpw-pop3: password fail bob:192.0.2.1",
    b"Nov 24 01:50:44 mx nginx: 2026/11/24 01:50:44 [info] 1#1: *1 client login failed: x",
    b"2026/11/24 01:50:44 [info] 1#1: *1 client login failed: x",
    b"2026-11-24 01:50:44,123 INFO  [qtp1] [oip=192.0.2.1;] security - cmd=Auth; account=bob; error=x;",
    b"Nov 24 01:50:44 mx mailboxd[7]: x",
    b"Nov 24 01:50:44 mx site-a/imapd[7]: LOGIN",
    b"Nov 24 01:50:44 mx dovecot-site2: imap-login: Login: user=<bob>",
    b"Nov 24 01:50:44 mx cyrus/master[7]: process started",
    b"Nov 24 01:50:44 imapd [7]: LOGIN",
    b"Nov 24 01:50:44 2001:db8::25 imapd[7]: LOGIN",
    b"Nov 24 01:50:44 mx pop(pam_unix)[12]: authentication failure; x",
    b"Nov 24 01:50:44 imap(bob: dovecot smith)<1><x>: Info: Logged out",
    b"<22>1 2026-11-24T01:50:44.123456+00:00 mx popa3d 311 - - Authentication failed for bob",
)
MAIL = (
    b"Nov 24 01:50:44 mx dovecot: submission(bob)<311><AwA68Ptg>: Successfully relayed message: from=<bob>",
    b"Nov 24 01:50:44 mx dovecot[311]: submission-login: Login: user=<bob>, method=PLAIN, rip=192.0.2.1",
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
    b"Nov 24 01:50:44 postfix/smtpd[1]: dovecot: a line that names no host",
    b"Nov 24 01:50:44 postfix/smtpd[1]: imap-login: Info: Login",
    b"Nov 24 01:50:44 mx postfix/popa3d[1]: an instance of Postfix",
    b"Nov 24 01:50:44 mx imapdx[1]: another program",
    b"Nov 24 01:50:44 mx sm-mta[1]: AUTH failure, user=imapd[1]: x",
    b"Nov 24 01:50:44 mx last message repeated 2 times, imapd: x",
    b"2026-11-24 01:50:44 1a-b-c <= bob@example.org H=(imapd) [192.0.2.1] imapd[1]: 2026/11/24 client login failed: ",
    b'{"SYSLOG_IDENTIFIER":"imapd","MESSAGE":"LOGIN FAILED"}',
    b"\xff\xfe\x00",
    b"",
)
ON_AUTHLOG = (Role.ACCESS, Role.SASL, Role.ASKED)


@pytest.mark.parametrize("line", [*AUTH, *PROGRAMS])
def test_lines_of_access_servers_go_to_authlog(line: bytes) -> None:
    assert topic_of(line) == "authlog"


@pytest.mark.parametrize("line", MAIL)
def test_all_others_go_to_maillog_whatever_a_client_wrote(line: bytes) -> None:
    assert topic_of(line) == "maillog"


def by_reading(line: str) -> str | None:
    """The slow way: the header is read, and its tag looked up; ``None`` where no format names the tag."""
    stamps = Stamps()
    stamps.refer(REFERENCE)
    header = read_header(line, stamps, REFERENCE)
    route = None if header is None else TABLE.tagged(header.host, header.tag)
    if route is None or not route.known:
        return None
    return "authlog" if route.role in ON_AUTHLOG else "maillog"


def tagged() -> Iterator[str]:
    """Lines of all formats that begin with ``Nov 24 01:50:43 mx tag``."""
    for rows in FILES.values():
        yield from (line for line, _, _ in rows if line.startswith("Nov 24 ") and by_reading(line) is not None)


HEADERS = ("{}", "<22>{}", "2026-11-24T01:50:43.123456+00:00 {rest}", "2026-11-24 01:50:43 {rest}", "<22>{iso} {rest}")
TAGS = sorted({tag for entry in FORMATS if not entry.within for tag in entry.programs if not tag.endswith("/")})


@pytest.mark.parametrize("header", HEADERS)
def test_the_examples_go_where_their_formats_say(header: str) -> None:
    lines = [header.format(line, rest=line[16:], iso="2026-11-24T01:50:43Z") for line in tagged()]
    assert len(lines) > 300
    assert [(line, topic_of(line.encode())) for line in lines] == [(line, by_reading(line)) for line in lines]


@given(
    st.sampled_from(TAGS), st.sampled_from(["", "mx ", "10.0.0.5 "]), st.sampled_from(["", "site-a/", "postfix-out/"]),
    st.sampled_from(["", "[12]"]), st.text(st.characters(codec="utf-8", exclude_characters="\n\r"), max_size=30),
)  # fmt: skip
def test_whatever_follows_the_tag_changes_nothing(tag: str, host: str, instance: str, pid: str, text: str) -> None:
    line = f"Nov 24 01:50:43 {host}{instance}{tag}{pid}: {text}"
    wanted = by_reading(line)
    if wanted is not None:
        assert topic_of(line.encode()) == wanted
    assert topic_of(f"<22>1 2026-11-24T01:50:43Z mx {instance}{tag} 12 - - {text}".encode()) == (
        by_reading(f"Nov 24 01:50:43 mx {instance}{tag}: x") or "maillog"
    )


def test_lines_of_logs_of_their_own_are_told_by_their_beginning() -> None:
    """Of each format whose lines belong on ``authlog``, and of no other."""
    found = set()
    for name, rows in FILES.items():
        entry = next(entry for entry in FORMATS if entry.name.replace("-", "_") == name)
        for line, expected, _ in rows:
            if TABLE.bare(line, Stamps()) is not None:
                wanted = entry.role in ON_AUTHLOG and expected != "ignored"
                assert (line, topic_of(line.encode())) == (line, "authlog" if wanted else "maillog")
                found.add((name, wanted))
    assert {name for name, wanted in found if wanted} == {"nginx_mail", "zimbra"}
    assert len(found) > 5


def test_formats_on_authlog_say_how_their_own_logs_begin() -> None:
    assert [e.name for e in FORMATS if e.bare and e.role in ON_AUTHLOG and not e.bare_start] == []
