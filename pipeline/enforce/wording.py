"""What a mail client, or a mail server's log, is told about a restriction. Here and nowhere else."""

from typing import Final

from schemas.kinds import Action

MAX_REASON: Final = 150
"""Characters of a decision's reason. RFC 5321, 4.5.3.1.5: a reply line has at most 512 octets, of which the mail server
takes some for the address, the action's code and words of its own."""

MAX_SHOWN: Final = 500
"""Characters of a reason in a list for operators; agents keep no more of it."""
SHOWN_ID: Final = 8
"""Digits of a decision's id that people are shown."""


def refusal(reason: str, decision_id: str) -> str:
    """Why, and the begin of the id by which the support desk finds the decision; one line of printable ASCII."""
    return plain(f"{reason[:MAX_REASON]} [{decision_id[:SHOWN_ID]}]")


def shown(reason: str) -> str:
    """A reason, or a name, as tables for operators show it."""
    return reason if len(reason) <= MAX_SHOWN else f"{reason[: MAX_SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"


def reason_of(text: str) -> tuple[str, str]:
    """Reason and id out of ``refusal``, as far as they are in it."""
    reason, _, decision_id = text.removesuffix("]").rpartition(" [")
    return reason, decision_id


def empty_sender(text: str) -> str:
    """To who must send as himself and gives no sender. ``text``: of the restriction."""
    return f"an empty sender is not allowed: {text}"


def in_shadow(action: Action, rule: str, text: str) -> str:
    """For the mail server's log: what would have been done."""
    return f"shadow {action} {rule}: {text}"


def plain(text: str) -> str:
    """Printable ASCII on one line: every other character becomes ``?``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text)
