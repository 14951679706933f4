"""Text that reaches a mail client or a mail server's log."""

from pipeline.held import Held

_LONGEST = 160  # RFC 5321, 4.5.3.1.5: a reply line has at most 512 octets; Postfix puts an address before our text


def plain(text: str, longest: int = _LONGEST) -> str:
    """Printable ASCII on one line: every other character becomes ``?``. At most ``longest`` characters."""
    text = text[:longest]
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text)


def why(held: Held) -> str:
    """The reason for people, and the id by which the support desk finds the decision."""
    return f"{plain(held.reason)} [{plain(held.id)}]"
