from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.enforce.limiter import Limiter
from pipeline.enforce.table import DecisionTable
from pipeline.hooks.hook import UnreadableRequest
from pipeline.hooks.postfix import DISCONNECT, PolicyAnswer, answer, parse
from tests.support.decisions import NOW, decision, table
from tests.support.hooks import context

ALICE = "alice@example.org"
TEXT = "alice@example.org sent 100 messages within 10 minutes (60 are allowed)"


def request(**attributes: str) -> bytes:
    """A request as Postfix 3.7 writes it at RCPT."""
    given = {
        "request": "smtpd_access_policy",
        "protocol_state": "RCPT",
        "protocol_name": "ESMTP",
        "client_address": "198.51.100.7",
        "client_name": "dsl-7.isp.example",
        "helo_name": "client.example",
        "sender": ALICE,
        "recipient": "x@dest.example",
        "recipient_count": "0",
        "queue_id": "",
        "instance": "6f95.6b04d4a1.8923b.0",
        "size": "0",
        "sasl_method": "PLAIN",
        "sasl_username": ALICE,
        "policy_context": "relay",
    } | attributes
    return "\n".join(f"{name}={value}" for name, value in given.items()).encode()


def told(made: DecisionTable, limiter: Limiter | None = None, now: float = NOW, **attributes: str) -> str:
    return ask(made, limiter, now, **attributes).action


def ask(made: DecisionTable, limiter: Limiter | None = None, now: float = NOW, **attributes: str) -> PolicyAnswer:
    return answer(request(**attributes), context(made, limiter), now)


def test_what_is_not_restricted_gets_no_opinion() -> None:
    made = table(decision("bob@example.org"))
    assert parse(request()).account == ALICE
    assert ask(made).encode() == b"action=DUNNO\n\n"


@pytest.mark.parametrize(
    ("action", "parameters", "begins"),
    [
        ("reject", {}, "REJECT 5.7.1 "),
        ("defer", {}, "DEFER_IF_PERMIT 4.7.1 "),
        ("hold", {}, "HOLD "),
        ("limit", {"messages": 0, "window": 60}, "DEFER_IF_PERMIT 4.7.1 "),
    ],
)
def test_an_action_is_said_in_postfixs_words_with_the_reason(action: str, parameters: Any, begins: str) -> None:
    given = decision(ALICE, action=action, parameters=parameters)
    assert told(table(given)) == f"{begins}{TEXT} [{given.id[:8]}]"


def test_route_names_the_transport_and_keeps_the_next_hop() -> None:
    assert told(table(decision(ALICE, action="route", parameters={"pool": "slow_1"}))) == "FILTER slow_1:"


def test_a_refusal_may_end_the_session() -> None:
    made = table(decision(ALICE))
    assert answer(request(), context(made, flags=frozenset({DISCONNECT})), NOW).action.startswith("521 5.7.1 ")


def test_shadow_is_logged_and_passes() -> None:
    given = ask(table(decision(ALICE, mode="shadow")))
    assert given.action.startswith(f"INFO shadow reject account_send_rate: {TEXT} [")
    assert given.outcome == "shadow"


@pytest.mark.parametrize("subject", ["198.51.100.7", "198.51.100.0/24", "RU"])
def test_sources_are_judged_for_authenticated_clients_only(subject: str) -> None:
    kind = "country" if subject == "RU" else "ip"
    made = table(decision(subject, kind))
    assert told(made, sasl_username="carol@example.org").startswith("REJECT")
    assert told(made, sasl_username="") == told(made, sasl_username="", policy_context="webmail") == "DUNNO"


def test_a_webmail_host_is_judged_by_the_senders_account() -> None:
    made = table(decision(ALICE))
    assert told(made, sasl_username="") == "DUNNO"
    assert told(made, sasl_username="", policy_context="webmail", sender="Alice@Example.org").startswith("REJECT")
    assert told(made, sasl_username="", policy_context="webmail", sender="") == "DUNNO"
    for address in ("127.0.0.1", "::1"):
        assert told(made, sasl_username="", client_address=address, sender="alice@example.org").startswith("REJECT")
    only = table(decision(ALICE, protocols=["webmail"]))
    assert told(only) == "DUNNO"
    assert told(only, policy_context="webmail").startswith("REJECT")


def test_the_sender_must_be_the_accounts_own() -> None:
    made = table(decision(ALICE, action="require_from_match"))
    assert told(made, sender="ALICE@example.org") == "DUNNO"
    assert told(made, sender="bob@example.org") == "reject_authenticated_sender_login_mismatch"
    assert told(made, sender="").startswith("REJECT 5.7.1 an empty sender is not allowed: alice")
    assert told(made, sender="", protocol_state="CONNECT") == "DUNNO"
    assert told(made, sasl_username="", policy_context="webmail") == "DUNNO"


def test_a_limit_that_is_not_reached_leaves_the_word_to_weaker_decisions() -> None:
    made = table(
        decision("RU", "country", rule="country_limit", action="limit", parameters={"messages": 1, "window": 60}),
        decision("RU", "country", rule="country_from", action="require_from_match"),
    )
    limiter = Limiter()
    assert told(made, limiter, sender="x@example.net", instance="1") == "reject_authenticated_sender_login_mismatch"
    assert told(made, limiter, sender="x@example.net", instance="2").startswith("DEFER_IF_PERMIT")


def test_a_limit_counts_no_request_before_the_envelope() -> None:
    made = table(decision(ALICE, action="limit", parameters={"messages": 0, "window": 60}))
    assert told(made, protocol_state="MAIL") == "DUNNO"
    assert told(made, protocol_state="DATA", recipient_count="3").startswith("DEFER_IF_PERMIT")


def test_the_answer_holds_only_printable_ascii_whatever_the_reason() -> None:
    hostile = decision(ALICE, reason="stolen\naction=OK\n\n\x00踏み台\x7f" + "x" * 5000, id="\nid" * 9)
    encoded = ask(table(hostile)).encode()
    assert encoded.startswith(b"action=REJECT 5.7.1 stolen?action=OK???????")
    assert encoded.endswith(b"\n\n")
    assert len(encoded) < 250
    assert all(32 <= byte < 127 for byte in encoded[:-2])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\n",
        b"GET / HTTP/1.1\r\nHost: x",
        b"request=smtpd_access_policy\nnonsense",
        b"request=junk\nsasl_username=x",
        b"sasl_username=x",
        request(recipient_count="-1"),
        request(recipient_count="1" * 5000),
        request(recipient_count="\N{SUPERSCRIPT TWO}"),
    ],
)
def test_what_is_no_request_is_not_answered(raw: bytes) -> None:
    with pytest.raises(UnreadableRequest):
        parse(raw)


@given(st.binary(max_size=300))
def test_garbage_is_read_or_refused(raw: bytes) -> None:
    made = table(decision(ALICE))
    for junk in (raw, request() + b"\n" + raw, request() + b"\nhelo_name=" + raw.replace(b"\n", b"")):
        try:
            told = answer(junk, context(made), NOW)
        except UnreadableRequest:
            continue
        assert told.encode().endswith(b"\n\n")


@pytest.mark.parametrize("name", ["\x00", "a\x00lice@example.org", "x" * 60_000, "sasl_username=bob", "\udcff\udcfe"])
def test_hostile_account_names_are_only_names(name: str) -> None:
    made = table(decision(ALICE))
    raw = request().replace(
        b"sasl_username=alice@example.org", b"sasl_username=" + name.encode("utf-8", "surrogateescape")
    )
    assert answer(raw, context(made), NOW).action == "DUNNO"


def test_a_forged_attribute_inside_a_value_is_no_attribute() -> None:
    made = table(decision(ALICE))
    assert told(made, helo_name="x sasl_username=bob@example.org").startswith("REJECT")
    assert told(made, sasl_username="bob@example.org", helo_name=f"sasl_username={ALICE}") == "DUNNO"


@pytest.mark.parametrize("named", [{"instance": ""}, {"instance": "", "queue_id": "4F1"}])
def test_a_limit_holds_for_a_client_that_names_no_instance(named: dict[str, str]) -> None:
    made, limiter = table(decision(ALICE, action="limit", parameters={"messages": 2, "window": 20})), Limiter()
    found = [told(made, limiter, **(named | {"queue_id": named.get("queue_id", "") and f"4F{n}"})) for n in range(4)]
    assert [answer.split()[0] for answer in found] == ["DUNNO", "DUNNO", "DEFER_IF_PERMIT", "DEFER_IF_PERMIT"]
