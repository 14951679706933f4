"""What clients can write into log lines. Each format declares it (``Format.clients``); tests forge it.

Nothing here reads a line: a declaration says where in the format's examples a client's text stands, and how the
program writes it. The tests put into each such place whatever imitates the program, written so, and see that account,
address, kind and count stay the true ones.
"""

from enum import Enum, auto
from typing import NamedTuple


class Escape(Enum):
    """What a program does to a client's text before it writes it. All of them replace control characters."""

    NONE = auto()
    """Nothing else."""
    BACKSLASH = auto()
    """Quotes and backslashes get a backslash."""
    QUOTED = auto()
    """An address that is not plain has its local part in quotes, with backslashes (RFC 5321)."""
    WORD = auto()
    """It ends at its first blank."""
    GRAPHIC = auto()
    """Blanks, commas and what is not ASCII are replaced."""
    NEUTERED = auto()
    """Blanks, brackets, quotes, backslashes, semicolons and ``@`` are replaced."""
    HOST = auto()
    """Letters, digits, dots, hyphens and underscores: anything else was refused before."""
    ADDRESS = auto()
    """An IP address: anything else was refused before."""


class ClientText(NamedTuple):
    """One text that a client, or a server that answers in his favour, can choose.

    * ``name``: what it is. ``where``: a pattern that finds it in the format's examples: each of its groups is the text,
      wherever it matches, and all of them hold the same text at the same time.
    * ``escape``: how it is written. ``longest``: characters that the program writes of it, the rest becomes ``...``;
      0: no limit that one could rely on.
    """

    name: str
    where: str
    escape: Escape = Escape.NONE
    longest: int = 0
