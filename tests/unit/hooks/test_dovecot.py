import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.adapters.prometheus import PrometheusRecorder
from pipeline.hooks.dovecot import AuthRequest, answer, parse
from pipeline.hooks.hook import Answer, HttpRequest, NoSuchRequest, UnreadableRequest
from tests.support.decisions import NOW, decision, table
from tests.support.foreign import values
from tests.support.hooks import context

ALICE = "alice@example.org"
NESTED = [b'{"login":' + b"[" * n + b"]" * n + b"}" for n in (1000, 100_000)]
PASSED = {"status": 0, "msg": "", "r_attrs": {}}
BODY = (
    b'{"device_id":"","login":"Alice@example.org","protocol":"imap","pwhash":"0797","remote":"198.51.100.21",'
    b'"session_id":"webmailsess1","tls":false}'
)


def told(*decisions: Any, **changes: Any) -> dict[str, Any]:
    body = json.dumps(json.loads(BODY) | changes).encode()
    found: dict[str, Any] = json.loads(ask("allow", body, *decisions).encode())
    return found


def ask(command: str, body: bytes, *decisions: Any) -> Answer:
    return answer(HttpRequest("POST", "/", {"command": command}, body), context(table(*decisions)), NOW)


def test_dovecots_own_requests_are_read() -> None:
    assert parse(BODY).pwhash == "0797"
    report = BODY[:-1] + b',"success":false,"policy_reject":true,"fail_type":"credentials"}'
    assert parse(report) == AuthRequest(
        login="Alice@example.org",
        remote="198.51.100.21",
        protocol="imap",
        pwhash="0797",
        fail_type="credentials",
        policy_reject=True,
    )


def test_a_login_that_is_not_restricted_goes_on() -> None:
    assert told(decision("bob@example.org", scope="login")) == PASSED
    assert told(decision(ALICE, scope="send")) == PASSED


@pytest.mark.parametrize(
    ("action", "parameters", "status"), [("deny_login", {}, -1), ("reject", {}, -1), ("delay_login", {"seconds": 7}, 7)]
)
def test_actions_are_said_as_a_status_with_the_reason(action: str, parameters: Any, status: int) -> None:
    given = decision(ALICE, action=action, scope="login", parameters=parameters)
    assert told(given) == {"status": status, "msg": f"{given.reason} [{given.id[:8]}]", "r_attrs": {}}


@pytest.mark.parametrize(("kind", "subject"), [("ip", "198.51.100.21"), ("prefix", "198.51.0.0/16"), ("country", "RU")])
def test_sources_are_judged(kind: Any, subject: str) -> None:
    assert told(decision(subject, kind, action="deny_login", scope="login"))["status"] == -1
    assert told(decision(subject, kind, action="deny_login", scope="login"), remote="")["status"] == 0


def test_only_webmail_can_ask_for_a_second_factor() -> None:
    given = decision(ALICE, action="challenge", scope="login")
    assert told(given) == PASSED
    assert told(given, protocol="webmail")["r_attrs"] == {"challenge": "1"}


def test_shadow_lets_the_login_go_on() -> None:
    assert told(decision(ALICE, action="deny_login", scope="login", mode="shadow")) == PASSED


def test_protocols_have_one_name() -> None:
    given = decision(ALICE, action="deny_login", scope="login", protocols=["smtp", "managesieve"])
    statuses = {p: told(given, protocol=p)["status"] for p in ("imap", "smtp", "submission", "sieve")}
    assert statuses == {"imap": 0, "smtp": -1, "submission": -1, "sieve": -1}


def test_the_text_is_printable_ascii() -> None:
    given = decision(ALICE, action="deny_login", scope="login", reason="踏み台\r\n* BYE", id="x")
    assert told(given)["msg"] == "?????* BYE [x]"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"not json", b'{"login":"\xff"}', *NESTED])
def test_what_is_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        parse(body)


@pytest.mark.parametrize(
    ("login", "taken"), [('"a@x"', "a@x"), ("7", "7"), ("null", ""), ("true", ""), ("[1]", ""), ('{"a":1}', "")]
)
def test_values_of_other_types_are_taken_as_weakforced_takes_them(login: str, taken: str) -> None:
    body = f'{{"login":{login},"remote":1.5,"protocol":null,"success":"false","policy_reject":"true","pwhash":{{}}}}'
    assert parse(body.encode()) == AuthRequest(taken, "1.5", policy_reject=True)


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda s: json.dumps({"login": s, "remote": s}).encode()))
def test_garbage_is_read_or_refused(body: bytes) -> None:
    try:
        told = ask("allow", body, decision(ALICE))
    except UnreadableRequest:
        return
    assert json.loads(told.encode())["status"] == 0


@given(st.sampled_from(["login", "remote", "protocol", "success", "other"]), values("enforcement"))
def test_whatever_stands_in_a_request_it_is_read_or_refused(name: str, value: bytes | None) -> None:
    body = b'{"login":"bob@example.org","%s":%s}' % (name.encode(), value or b"null")
    try:
        answered = ask("allow", body, decision(ALICE)).encode()
    except UnreadableRequest:
        return
    assert json.loads(answered) == PASSED


def test_reports_are_counted() -> None:
    asked = context(table(decision(ALICE, scope="login")))
    body = b'{"login":"alice@example.org","success":true}'
    assert answer(HttpRequest("POST", "/", {"command": "report"}, body), asked, NOW).outcome == "reported"
    assert isinstance(asked.recorder, PrometheusRecorder)
    counted = {"success": "true", "policy_reject": "false"}
    assert asked.recorder.registry.get_sample_value("sekimori_enforce_reports_total", counted) == 1


@pytest.mark.parametrize(("method", "command"), [("GET", "allow"), ("POST", "reset"), ("POST", "")])
def test_other_commands_are_told_what_is_wanted(method: str, command: str) -> None:
    with pytest.raises(NoSuchRequest, match="command=allow"):
        answer(HttpRequest(method, "/", {"command": command}, BODY), context(table()), NOW)
