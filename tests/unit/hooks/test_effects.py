"""What operators are told of a decision is what the hooks do."""

import json
from datetime import timedelta

import pytest

from pipeline.enforce.limiter import Limiter
from pipeline.enforce.table import STRENGTH
from pipeline.hooks import HOOKS, dovecot, postfix
from pipeline.hooks.effects import effects, why_without_effect
from pipeline.hooks.hook import Context, HttpRequest
from pipeline.metrics import MemoryRecorder
from schemas.kinds import ACTIONS, SCOPES, SUBJECT_KINDS, Action, Scope, SubjectKind
from tests.support.decisions import AT, NOW, decision, table
from tests.unit.hooks.test_postfix import request

SUBJECTS: dict[SubjectKind, str] = {
    "account": "alice@example.org",
    "ip": "198.51.100.7",
    "prefix": "198.51.100.0/24",
    "country": "BR",
    "account_ip": "alice@example.org|198.51.100.7",
    "system": "*",
}
PARAMETERS = {"pool": "slow", "seconds": 5, "window": 60, "messages": 0}


def restricted(kind: SubjectKind, action: Action, scope: Scope) -> Context:
    made = decision(
        SUBJECTS[kind], kind, action=action, scope=scope, parameters=PARAMETERS, expires_at=AT + timedelta(hours=1)
    )
    return Context(table(made), Limiter(), MemoryRecorder(), lambda _: "BR")


def mail(context: Context) -> bool:
    """Is anything else done with mail than to let it pass?"""
    asked = request(
        sasl_username="alice@example.org",
        client_address="198.51.100.7",
        sender="bob@example.org",
        protocol_state="RCPT",
    )
    return postfix.answer(asked, context, NOW).action != "DUNNO"


def login(context: Context) -> bool:
    """The same of a login by webmail."""
    body = {"login": "alice@example.org", "remote": "198.51.100.7", "protocol": "webmail"}
    answer = dovecot.answer(HttpRequest("POST", "/", {"command": "allow"}, json.dumps(body).encode()), context, NOW)
    return answer.outcome != "pass"


@pytest.mark.parametrize("kind", SUBJECT_KINDS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("action", ACTIONS)
def test_a_hook_does_something_where_that_is_said_and_nowhere_else(
    kind: SubjectKind, scope: Scope, action: Action
) -> None:
    context = restricted(kind, action, scope)
    does = {name for name, done in (("postfix", mail(context)), ("dovecot", login(context))) if done}
    said = {effect.hook for effect in effects(kind, action, scope)}
    assert said & {"postfix", "dovecot"} == does  # of the others their examples tell


@pytest.mark.parametrize("kind", SUBJECT_KINDS)
@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("action", ACTIONS)
def test_what_is_advised_instead_has_an_effect(kind: SubjectKind, scope: Scope, action: Action) -> None:
    if effects(kind, action, scope):
        return
    why = why_without_effect(kind, action, scope)
    if kind == "system":
        assert "all mail" in why
    elif "give --scope" in why:
        (better,) = [one for one in SCOPES if why.endswith(f"--scope {one}")]
        assert effects(kind, action, better)
    else:
        wanted = why.rpartition("there are ")[2].split(", ")
        assert wanted
        assert all(effects(kind, one, scope) for one in ACTIONS if one in wanted)


def test_the_table_asks_for_what_hooks_obey() -> None:
    for hook in HOOKS:
        for purpose, actions in hook.obeys.items():
            assert set(actions) <= set(STRENGTH[purpose])
    for purpose, order in STRENGTH.items():
        assert set(order) == {action for hook in HOOKS for action in hook.obeys.get(purpose, ())}
