"""Decisions as the agent keeps them: what it must know to answer, and no more."""

from typing import Any, Final

import msgspec

from pipeline.enforce.wording import SHOWN_ID, reason_of, refusal, shown
from pipeline.networks import parse_network
from schemas.enforcement import Decision
from schemas.kinds import POOL_NAME, Action, Mode, Scope, SubjectKind

LOGIN_ACTIONS: Final[frozenset[Action]] = frozenset({"deny_login", "delay_login", "challenge"})
"""What is done to logins only; their ``except_sources`` are spared."""


class Terms(msgspec.Struct, frozen=True):
    """What many decisions have in common; equal ones are shared. ``seconds``, ``pool`` ... are the parameters.
    ``actor`` and ``held`` (by the brake) are for operators alone."""

    kind: SubjectKind
    rule: str
    action: Action
    scope: Scope
    mode: Mode
    protocols: tuple[str, ...] = ()
    seconds: int = 0
    pool: str = ""
    messages: int | None = None
    recipients: int | None = None
    window: int = 0
    except_sources: tuple[str, ...] = ()
    actor: str = ""
    held: bool = False


class Restriction(msgspec.Struct, gc=False, eq=False):
    """One decision as the table keeps it; seconds since 1970 UTC.

    ``text`` is what the client is told: one line of printable ASCII (``wording.refusal``). ``live`` ends when it is
    lifted or replaced.
    """

    terms: Terms
    subject: str
    text: str
    issued_at: float
    expires_at: float
    live: bool = True

    @property
    def why(self) -> tuple[str, str]:
        """The reason of the decision, as it is ``wording.shown``, and the begin of its id."""
        return reason_of(self.text)


class Reworded(Restriction, gc=False, eq=False):
    """One of which ``text`` does not tell reason and id as operators are shown them; few are."""

    told: tuple[str, str] = ("", "")

    @property
    def why(self) -> tuple[str, str]:
        """See ``Restriction``."""
        return self.told


def restriction_of(decision: Decision) -> Restriction:
    """The slim record of a decision. Raises ValueError if it cannot be obeyed."""
    text, whole = refusal(decision.reason, decision.id), (shown(decision.reason), decision.id[:SHOWN_ID])
    held = (terms_of(decision), decision.subject, text, decision.issued_at.timestamp(), decision.expires_at.timestamp())
    return Restriction(*held) if reason_of(text) == whole else Reworded(*held, told=whole)


def terms_of(decision: Decision) -> Terms:
    """Checks the parameters of the action. Raises ValueError."""
    given = decision.parameters
    sources = given.get("except_sources", ())
    if not isinstance(sources, list | tuple) or not all(isinstance(s, str) for s in sources):
        raise ValueError("except_sources: a list of networks is wanted")
    for source in sources:
        parse_network(source)
    terms = Terms(
        kind=decision.subject_kind,
        rule=decision.rule,
        action=decision.action,
        scope=decision.scope,
        mode=decision.mode,
        protocols=tuple(decision.protocols),
        seconds=_number(given, "seconds", 1, 60) or 0,
        pool=str(given.get("pool", "")),
        messages=_number(given, "messages", 0, 1_000_000),
        recipients=_number(given, "recipients", 0, 1_000_000),
        window=_number(given, "window", 1, 86_400) or 0,
        except_sources=tuple(sources),
        actor=shown(decision.actor),
        held=decision.is_held,
    )
    if terms.action == "route" and not POOL_NAME.fullmatch(terms.pool):
        raise ValueError("route: the parameter pool is wanted, lower-case letters, digits, - and _")
    if terms.action == "delay_login" and not terms.seconds:
        raise ValueError("delay_login: the parameter seconds is wanted, 1 to 60")
    if terms.action == "limit" and not (terms.window and (terms.messages is not None or terms.recipients is not None)):
        raise ValueError("limit: the parameters window (seconds) and messages or recipients are wanted")
    return terms


def _number(given: dict[str, Any], name: str, least: int, most: int) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if type(value) is not int or not least <= value <= most:
        raise ValueError(f"{name}: {value!r} is no whole number from {least} to {most}")
    return value
