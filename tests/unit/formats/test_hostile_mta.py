"""Whatever a client writes, no line of an MTA or a filter gives an account, address or queue id that is not true."""

import json
import re
import time
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.formats.reading.lines import LineReader, split_frame
from schemas.event import Event

REFERENCE = 1_796_083_200.0  # 2026-12-01
TRUE_IP, TRUE_ACCOUNT, EVIL_IP, EVIL_ACCOUNT = (
    "198.51.100.7",
    "alice@mail.example",
    "203.0.113.66",
    "victim@mail.example",
)
QUEUE_IDS = ("1xVgzA-0007YJ-26", "6AO1n8SA017639", "a1b2c3d4", "4ABCdef", "1179799", "0C2F48.65A1B2C3.3A1B")
FORGED = (
    EVIL_ACCOUNT, EVIL_IP, f"[{EVIL_IP}]", f") [{EVIL_IP}]", f"x) [{EVIL_IP}] P=esmtpa A=plain:{EVIL_ACCOUNT} S=1",
    f" H=x [{EVIL_IP}]", " id=x", ' T="', " for ", f" A=plain:{EVIL_ACCOUNT}", " S=1", " P=esmtpa", "> F=<a@b",
    f": 535 Incorrect authentication data (set_id={EVIL_ACCOUNT})", " rejected RCPT <x>: y", "Completed", "<= ",
    f", relay=[{EVIL_IP}]", ", proto=ESMTPA, daemon=MSA", ", size=1, class=0, nrcpts=9", ", reject=550 5.7.1 x",
    f", authid={EVIL_ACCOUNT}, mech=PLAIN, bits=0", f", user={EVIL_ACCOUNT}", "SASL(-13): ", " (-13)",
    ", delay=00:00:00, xdelay=00:00:00, mailer=smtp, pri=1", ", dsn=2.0.0, stat=Sent", "AUTH failure (PLAIN): ",
    " result=ok", " authentication user=victim@mail.example result=ok", f" address={EVIL_IP}", "> to=<", ' result="Ok"',
    f"error,relay={EVIL_IP},msg=\"535 x\"", f", auth={EVIL_ACCOUNT}: dns; x [{EVIL_IP}])", "login success ", "') ",
    f"{EVIL_ACCOUNT}:{EVIL_IP}", ' lr="535 x" time=1', f"] security - cmd=Auth; account={EVIL_ACCOUNT}; protocol=imap;",
    f";oip={EVIL_IP}", ">, qid: <EVIL123>", f", ip: {EVIL_IP}", f", user: {EVIL_ACCOUNT}",
    "(default: F (no action): [1/15] ",
    " R=r T=remote_smtp_evil H=x [192.0.2.1]", ", mailer=evil, pri=1, relay=x", '","egress_pool":"evil',
    ", Queue-ID: EVIL123", ", Hits: -9, size: 1", "> -> <", " infected by X", "' message-id '", ": ", "; ", "pass",
    ">", "<", "]", "[", "(", ")", ",", '"', "'", "\\", " ", "=", "\x00", "\x85", "\u2028",
)  # fmt: skip
hostile = st.lists(st.sampled_from(FORGED) | st.text(max_size=6), max_size=6).map("".join)


def printed(text: str) -> str:
    """Exim's string_printing() and its likes: control characters are written as escapes."""
    return "".join(char if char >= " " and char != "\x7f" else f"\\{ord(char):03o}" for char in text)


def helo(text: str) -> str:
    """What Exim lets through: letters, digits, hyphens, dots, underscores, or a domain literal."""
    return re.sub(r"[^A-Za-z0-9._-]", "", text) or "x"


def address(text: str) -> str:
    """An address with a quoted local part, as every MTA here checks its grammar."""
    local = printed(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{local}"@x.example'


def quoted(text: str) -> str:
    return printed(text).replace("\\", "\\\\").replace('"', '\\"')


def blank(text: str) -> str:
    """spamd's message ids: blanks and commas are replaced."""
    return re.sub(r"[\x00-\x20\s,]", "_", text)


def graphic(text: str) -> str:
    """rspamd's message ids: what is not graphic is replaced."""
    return re.sub(r"[^\x21-\x7e]", "?", text)


def junk(text: str) -> str:
    """HELO under ``helo_accept_junk_hosts``."""
    return printed(text).strip() or "x"


E, S = "2026-11-24 03:14:24 ", "Nov 24 01:49:08 mx sm-mta[17639]: 6AO1n8SA017639: "
OS, AM = "Nov 24 03:24:27 mx smtpd[8]: e060fa43c8861d18 ", "Nov 24 01:50:43 mx amavis[8]: (00812-01) "
KUMO = {
    "type": "Reception", "id": "a1b2c3d4", "response": {"code": 250}, "reception_protocol": "ESMTP",
    "timestamp": 1795485043, "peer_address": {"name": "x", "addr": TRUE_IP}, "meta": {},
}  # fmt: skip
TEMPLATES: dict[str, Callable[[str, str, str], str]] = {
    "exim failure": lambda a, b, c: (
        f"{E}plain authenticator failed for ({helo(b)}) [{TRUE_IP}]: 535 Incorrect authentication data "
        f"(set_id={printed(a)})"
    ),
    "exim trouble": lambda a, b, c: (
        f"{E}plain authenticator failed for ({helo(b)}) [{TRUE_IP}]:40 I=[192.0.2.1]:587: 435 Unable to authenticate "
        f"at present (set_id={printed(a)}): no such file"
    ),
    "exim arrival": lambda a, b, c: (
        f"{E}1xVgzA-0007YJ-26 <= {address(a)} H=({helo(b)}) [{TRUE_IP}] P=esmtpa A=plain:{TRUE_ACCOUNT} S=28 "
        f'id={address(b)} T="{quoted(c)}" for {address(a)} {address(c)}'
    ),
    "exim arrival, any HELO": lambda a, b, c: (
        f"{E}1xVgzA-0007YJ-26 <= {address(a)} H=({junk(b)}) [{TRUE_IP}] P=esmtp S=28 id={address(c)} "
        f'T="{quoted(a)}" for {address(a)}'
    ),
    "exim reject": lambda a, b, c: (
        f"{E}H=({helo(c)}) [{TRUE_IP}] F=<{address(a)}> A=plain:{TRUE_ACCOUNT} rejected RCPT <{address(b)}>: no"
    ),
    "exim reject, any HELO": lambda a, b, c: (
        f"{E}H=({junk(c)}) [{TRUE_IP}] F=<{address(a)}> rejected RCPT <{address(b)}>: no"
    ),
    "exim delivery": lambda a, b, c: (
        f"{E}1xVgzA-0007YJ-26 ** {address(a)} F=<{address(b)}> R=r T=t H=mx [192.0.2.1]: {printed(c)}"
    ),
    "exim pipe": lambda a, b, c: (
        f"{E}1xVgzA-0007YJ-26 ** |/bin/x {printed(a)} <{address(b)}> R=r T=address_pipe: {printed(c)}"
    ),
    "exim command": lambda a, b, c: (
        f'{E}SMTP syntax error in "{printed(a)}" H=({helo(c)}) [{TRUE_IP}] unrecognized command'
    ),
    "sendmail failure": lambda a, b, c: (
        f"{S}AUTH failure (PLAIN): authentication failure (-13) SASL(-13): authentication failure: x, "
        f"user={printed(a)[:64]}, relay=[{TRUE_IP}]"
    ),
    "sendmail arrival": lambda a, b, c: (
        f"{S}from=<{address(a)}>, size=37, class=0, nrcpts=2, msgid={printed(b)}, proto=ESMTP, daemon=MTA, "
        f"relay=pc.example [{TRUE_IP}]"
    ),
    "sendmail reject": lambda a, b, c: (
        f"{S}ruleset=check_rcpt, arg1=<{printed(a)}>, relay=pc.example [{TRUE_IP}], "
        f"reject=550 5.7.1 <{printed(a)}>... no"
    ),
    "sendmail delivery": lambda a, b, c: (
        f"{S}to=<{address(a)}>,<{address(b)}>, delay=00:00:00, xdelay=00:00:00, mailer=smtp, pri=60037, "
        f"relay=x.example. [192.0.2.1], dsn=5.1.1, stat={printed(c)}"
    ),
    "opensmtpd failure": lambda a, b, c: f"{OS}smtp authentication user={printed(a)} result=permfail",
    "opensmtpd delivery": lambda a, b, c: (
        f"{OS}mta delivery evpid=a1b2c3d4e5f60718 from=<{address(a)}> to=<{address(b)}> rcpt=<-> source=\"192.0.2.1\" "
        f'relay="192.0.2.9 (mx)" delay=1s result="PermFail" stat="{printed(c)}"'
    ),
    "courier command": lambda a, b, c: (
        f'Nov 24 01:50:43 mx courieresmtpd: error,relay=::ffff:{TRUE_IP},msg="502 ESMTP command error",'
        f"cmd: {printed(a)}"
    ),
    "courier arrival": lambda a, b, c: (
        f"Nov 24 01:50:43 mx courierd: newmsg,id=0C2F48.65A1B2C3.3A1B: dns; "
        f"{printed(a)} (mx.example [::ffff:{TRUE_IP}])"
    ),
    "vpopmail": lambda a, b, c: (
        f"Nov 24 01:50:43 mx vpopmail[8]: vchkpw-smtp: password fail (pass: '{printed(b)}') {printed(a)}:{TRUE_IP}"
    ),
    "qmail": lambda a, b, c: (
        f"Nov 24 01:50:43 mx qmail: 1795485043.485077 info msg 1179799: bytes 8 from <{printed(a)}> qp 1 uid 8"
    ),
    "haraka": lambda a, b, c: (
        f"2026-11-24T03:21:31.278Z [NOTICE] [15BE3815-F2EF-490F-B38E-1028EC611024] [core] disconnect ip={TRUE_IP} "
        f'rdns=NXDOMAIN helo="{quoted(a)}" relay=N early=N lr="550 {quoted(b)}" time=0.022'
    ),
    "kumomta": lambda a, b, c: json.dumps(KUMO | {"sender": a, "recipient": b, "headers": {"Subject": c}}),
    "zimbra": lambda a, b, c: (
        f"2026-11-24 01:50:43,521 WARN  [Imap-1] [ip=127.0.0.1;oip={TRUE_IP};via=x;ua={printed(b)};cid=2;] security - "
        f"cmd=Auth; account={printed(a).replace(' ', '')}; protocol=imap; "
        "error=authentication failed for [x], invalid password;"
    ),
    "rspamd": lambda a, b, c: (
        f"Nov 24 01:50:43 mx rspamd[8]: <a1>; task; rspamd_task_write_log: id: <{graphic(a)}>, qid: <4ABCdef>, "
        f"ip: {TRUE_IP}, from: <{printed(c)}>, (default: T (reject): [25.10/15.00] [X(1.00){{{printed(b)}}}]), len: 8"
    ),
    "spamd": lambda a, b, c: (
        f"Nov 24 01:50:43 mx spamd[8]: spamd: result: Y 15 - X scantime=1.3,size=8,user=x,uid=1,required_score=5.0,"
        f"rhost=localhost,raddr=127.0.0.1,rport=52327,mid={blank(a)},rmid={blank(b)},autolearn=no"
    ),
    "amavis": lambda a, b, c: (
        f"{AM}Blocked SPAM {{x}}, [{TRUE_IP}]:5 [{EVIL_IP}] <{address(a)}> -> <{address(b)}>, Queue-ID: 4ABCdef, "
        f"Message-ID: <{printed(c)}>, mail_id: ZJ7VsEbd5VkP, Hits: 25.3, size: 8, 15 ms"
    ),
    "clamav": lambda a, b, c: (
        f"Nov 24 01:50:43 mx clamav-milter[8]: Message 4ABCdef from <{printed(a)}> to <b@x.example> with subject "
        f"'{printed(b)}' message-id '<{printed(c)}>' date 'x' infected by Win.Test.EICAR_HDB-1"
    ),
    "opendkim": lambda a, b, c: (
        f"Nov 24 01:50:43 mx opendkim[8]: 4ABCdef: key retrieval failed (s={printed(a)}, d={printed(b)}): not found"
    ),
}  # fmt: skip
FAILING = ("exim failure", "exim trouble", "sendmail failure", "opensmtpd failure", "vpopmail", "zimbra")
SAMPLES = [line("x", "y", "z") for line in TEMPLATES.values()]


@pytest.mark.parametrize("name", TEMPLATES)
@given(a=hostile, b=hostile, c=hostile)
@settings(max_examples=15, deadline=None)
@example(a="x", b=f"x) [{EVIL_IP}] P=esmtpa A=plain:{EVIL_ACCOUNT} S=1 id=z for q", c="x")
@example(a="x", b=f'x) [{EVIL_IP}] P=esmtpa A=plain:{EVIL_ACCOUNT} S=1 id="q', c=' for a"@y')
@example(
    a=f"{EVIL_ACCOUNT}) [{EVIL_IP}]: 535 x (set_id=x", b="x", c=f"x) [{EVIL_IP}] F=<a> A=p:{EVIL_ACCOUNT} rejected x"
)
@example(
    a=f"a@b>, qid: <EVIL123>, ip: {EVIL_IP}, user: {EVIL_ACCOUNT}, from: <x>, (default: F (no action): [1/1] ",
    b="",
    c="",
)
@example(
    a=f"x, user={EVIL_ACCOUNT}, relay=[{EVIL_IP}]", b=f">, proto=ESMTPA, relay=[{EVIL_IP}]", c="x, dsn=2.0.0, stat=Sent"
)
def test_no_line_gives_what_a_client_forged(name: str, a: str, b: str, c: str) -> None:
    lines = split_frame(TEMPLATES[name](a, b, c).encode(errors="replace"))
    assert len(lines) == 1
    outcome = LineReader().read(lines[0], REFERENCE)
    if not isinstance(outcome, Event):
        return
    assert outcome.client_ip in (TRUE_IP, None)
    assert outcome.queue_id in (*QUEUE_IDS, None)
    true = {None, TRUE_ACCOUNT}
    if name in FAILING:
        true |= {printed(a).lower(), printed(a)[:64].lower(), printed(a).replace(" ", "").partition(";")[0].lower()}
        assert outcome.kind in ("auth_failure", "other")
    assert outcome.account in true
    assert outcome.kind != "auth_success"
    if outcome.kind == "submission":
        assert outcome.account == TRUE_ACCOUNT
    if outcome.kind == "delivery":
        assert outcome.status == "bounced"
    assert outcome.pool == ("t" if name == "exim delivery" else None)
    if name in ("rspamd", "amavis", "spamd", "clamav"):
        assert outcome.status in ("reject", "spam", "infected", None)


@pytest.mark.parametrize("name", TEMPLATES)
def test_every_template_is_understood(name: str) -> None:
    outcome = LineReader().read(TEMPLATES[name]("a@x.example", "pc.example", "hello"), REFERENCE)
    assert isinstance(outcome, Event)
    assert (outcome.client_ip or outcome.queue_id or outcome.account or outcome.message_id) is not None


FILLINGS = ("x", " ", ">", ", ", ") [1.1.1.1] ", '"', "\\", "[", "]: ", "<a>", ", relay=[",
            ", size=1, class=0, nrcpts=1, ",
            " result=ok", "') ", ":1.1.1.1", ", qid: <", "> -> <", " infected by ",
            "' message-id '", ":::::::", ";oip=1",
            ", delay=1, ", '" A=x', " for ", "AUTH", "] security - cmd=Auth; ")  # fmt: skip


@pytest.mark.parametrize("name", TEMPLATES)
def test_long_lines_take_linear_time(name: str) -> None:
    reader = LineReader()

    def cost(length: int) -> float:
        texts = [(filling * length)[:length] for filling in FILLINGS]
        lines = [TEMPLATES[name](text, text, text) for text in texts]
        lines += [line[: len(line) // 2] for line in lines]
        start = time.process_time()
        reader.read_lines(lines, REFERENCE)
        return time.process_time() - start

    # Sixteen times the length: about 16 times the time if linear, 256 times if quadratic. Others use the machine too.
    assert any(cost(4_000) < 70 * cost(250) + 0.02 for _ in range(3))
