"""Text that reaches a mail client or a mail server's log."""

_LONGEST = 180  # RFC 5321, 4.5.3.1.5: a reply line has at most 512 octets; Postfix puts an address before our text


def plain(text: str, longest: int = _LONGEST) -> str:
    """Printable ASCII on one line: every other character becomes ``?``. At most ``longest`` characters."""
    text = text[:longest]
    if text.isascii() and text.isprintable():
        return text
    return "".join(c if " " <= c <= "~" else "?" for c in text)
