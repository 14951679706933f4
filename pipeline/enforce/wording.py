"""What a mail client, or a mail server's log, is told about a restriction. Here and nowhere else."""

from typing import Final

from schemas.kinds import Action

MAX_REASON: Final = 150
"""Characters of a decision's reason. RFC 5321, 4.5.3.1.5: a reply line has at most 512 octets, of which the mail server
takes some for the address, the action's code and words of its own."""

_MAX_ID: Final = 8


def refusal(reason: str, decision_id: str) -> str:
    """Why, and the begin of the id by which the support desk finds the decision; one line of printable ASCII."""
    return plain(f"{reason[:MAX_REASON]} [{decision_id[:_MAX_ID]}]")


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
