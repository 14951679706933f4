"""What will come of a decision: at which hook which words, and nothing where no hook obeys it."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline.hooks import HOOKS
from pipeline.hooks.hook import Hook
from schemas.kinds import ACTIONS, Action, Scope, SubjectKind

ABOUT_NOBODY: Final[frozenset[SubjectKind]] = frozenset({"system"})
"""One message must not be able to stop all mail: no hook obeys a decision about these."""


class HookEffect(NamedTuple):
    """A hook's name, and what becomes of a client there."""

    hook: str
    what: str


def effects(kind: SubjectKind, action: Action, scope: Scope, hooks: Iterable[Hook] = HOOKS) -> list[HookEffect]:
    """What each hook does; of those that do nothing nothing."""
    if kind in ABOUT_NOBODY:
        return []
    return [
        HookEffect(hook.name, actions[action])
        for hook in hooks
        for purpose, actions in hook.obeys.items()
        if scope in (purpose, "both") and action in actions
    ]


def why_without_effect(kind: SubjectKind, action: Action, scope: Scope) -> str:
    """Of a decision that no hook obeys: why, and what to do instead."""
    if kind in ABOUT_NOBODY:
        return f"no hook obeys a decision about {kind}: one message must not be able to stop all mail"
    purposes = sorted({purpose for hook in HOOKS for purpose, actions in hook.obeys.items() if action in actions})
    if purposes:
        return f"no hook obeys {action} with scope {scope}, it would do nothing: give --scope {purposes[0]}"
    wanted = [one for one in ACTIONS if effects(kind, one, scope)]
    return f"no hook obeys {action}, it would restrict nobody: with scope {scope} there are {', '.join(wanted)}"
