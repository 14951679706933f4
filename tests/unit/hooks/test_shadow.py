"""An agent that only watches stops nobody, and tells whom it would have stopped."""

import json

import pytest

from pipeline.enforce.limiter import Limiter
from pipeline.hooks import HOOKS, dovecot, postfix
from pipeline.hooks.hook import Context, Hook, HttpHook, HttpRequest, LineHook, UnreadableRequest
from pipeline.hooks.shadow import in_shadow
from pipeline.metrics import MemoryRecorder
from schemas.kinds import ACTIONS, Action
from tests.support.decisions import NOW, decision, table
from tests.unit.hooks import test_examples as examples
from tests.unit.hooks.test_effects import PARAMETERS
from tests.unit.hooks.test_postfix import request


def ask(hook: Hook, context: Context) -> tuple[str, bytes]:
    if isinstance(hook, HttpHook):
        body = json.dumps({"login": "alice@example.org", "remote": "198.51.100.7", "protocol": "webmail"}).encode()
        answer = hook.answer(HttpRequest("POST", "/", {"command": "allow"}, body), context, NOW)
    else:
        asked = request(sasl_username="alice@example.org", sender="bob@example.org", protocol_state="RCPT")
        answer = hook.answer(asked, context, NOW)
    return answer.outcome, answer.encode()


def passing(hook: Hook) -> list[object]:
    assert hook.go_on is not None
    encoded = hook.go_on.encode()
    if isinstance(hook, LineHook):
        return list(encoded.removesuffix(hook.end).decode().split("\n"))
    return [json.loads(encoded)]


@pytest.mark.parametrize("hook", HOOKS, ids=[hook.name for hook in HOOKS])
def test_in_no_example_anybody_is_restricted_and_what_differs_is_told(hook: Hook) -> None:
    told = list[tuple[str, str, bytes]]()
    shadow = in_shadow(hook, lambda *seen: told.append(seen))
    for example in examples.FILES[hook.name]:
        real, watching = examples.context_of(example.state), examples.context_of(example.state)
        for asked, _ in example.asked:
            told.clear()
            wanted, given = examples.ask(hook, asked, real), examples.ask(shadow, asked, watching)
            assert given == (passing(hook) if told else wanted), asked


@pytest.mark.parametrize("hook", [postfix.HOOK, dovecot.HOOK], ids=["postfix", "dovecot"])
@pytest.mark.parametrize("action", ACTIONS)
def test_nobody_is_restricted_and_every_restriction_is_told(hook: Hook, action: Action) -> None:
    made = decision("alice@example.org", action=action, scope="both", parameters=PARAMETERS)
    real, told = Context(table(made), Limiter(), MemoryRecorder()), list[tuple[str, str, bytes]]()
    outcome, sent = ask(hook, real)
    watched = ask(in_shadow(hook, lambda *seen: told.append(seen)), Context(table(made), Limiter(), MemoryRecorder()))
    harmless = {"postfix": postfix.DUNNO, "dovecot": dovecot.GO_ON}[hook.name]
    assert watched[1] == harmless.encode()
    assert told == ([] if outcome == harmless.outcome else [(hook.name, outcome, sent)])
    assert watched[0] == (outcome if not told else f"would_{outcome}")


def test_what_is_no_request_is_none_in_shadow_either() -> None:
    context = Context(table(decision("alice@example.org")), Limiter(), MemoryRecorder())
    watching = in_shadow(postfix.HOOK, lambda *_: None)
    assert not isinstance(watching, HttpHook)
    with pytest.raises(UnreadableRequest):
        watching.answer(b"request=none", context, NOW)
