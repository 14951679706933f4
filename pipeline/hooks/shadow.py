"""An agent that only watches: hooks that say what they would have answered, and let everything pass."""

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, TypeVar

from pipeline.hooks.hook import Answer, Context, Hook, HttpHook

R = TypeVar("R")

Told = Callable[[str, str, bytes], None]
"""Hears of each answer that was not given: hook, outcome, the bytes."""


class WouldAnswer(NamedTuple):
    """``passing`` is sent; ``outcome`` is ``would_`` and that of the answer in whose place it is."""

    passing: Answer
    outcome: str

    def encode(self) -> bytes:
        """The bytes of what lets it pass."""
        return self.passing.encode()


def in_shadow(hook: Hook, told: Told) -> Hook:
    """The same hook, but that it never restricts anybody. Raises ValueError if it does not tell how to let pass."""
    if hook.go_on is None:
        raise ValueError(f"the hook {hook.name} cannot run in shadow: it has no go_on")
    if isinstance(hook, HttpHook):
        return replace(hook, answer=_passing(hook.answer, hook.name, hook.go_on, told))
    return replace(hook, answer=_passing(hook.answer, hook.name, hook.go_on, told))


def _passing(
    answer: Callable[[R, Context, float], Answer], name: str, go_on: Answer, told: Told
) -> Callable[[R, Context, float], Answer]:
    harmless = {go_on.outcome, "shadow", "reported", ""}

    def watched(request: R, context: Context, now: float) -> Answer:
        real = answer(request, context, now)
        if real.outcome in harmless:
            return real
        told(name, real.outcome, real.encode())
        return WouldAnswer(go_on, f"would_{real.outcome}")

    return watched
