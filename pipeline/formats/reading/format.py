"""What a format module says: how lines are read, and what the programs that write them are."""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import Enum, auto
from typing import NamedTuple

import msgspec

from pipeline.formats.reading.stamps import Stamps
from schemas.event import Event


class Unreadable(msgspec.Struct, frozen=True, gc=False):
    """A line that ``format`` claims and cannot read; it goes to ``dead-letters`` with the ``reason``."""

    format: str
    reason: str


Outcome = Event | Unreadable | None
Reader = Callable[[datetime, str, str, str | None, str, str], Outcome]
"""(time, host, program, service, first, rest) -> outcome. ``None``: the format does not claim the line.

The text after the tag is ``first: rest``, split at its first colon and blank; ``rest`` is empty if there is none.
"""
BareReader = Callable[[str, Stamps], Outcome]
"""(whole line, stamps) -> outcome, for lines that begin with no syslog header."""
ObjectReader = Callable[[Mapping[str, object], Stamps], Outcome]
"""(decoded JSON object, stamps) -> outcome, for programs that log JSON of their own."""
Claim = tuple[Reader, str | None]
"""The reader of a tag, and the service that the tag tells."""


OF_PROCESS = ("NOQUEUE", "proxy-accept", "proxy-reject")
"""How lines of smtpd(8) begin that name no message, so that only the process says whose they are. Their reader is told
the process id as well: ``submission[812]``."""


class Role(Enum):
    """What a program is. It tells how its password errors count, and which topic its lines belong on.

    ``ACCESS``, ``SASL`` and ``ASKED`` belong on ``authlog``, all others on ``maillog``.
    """

    MTA = auto()
    """Takes SMTP AUTH. Its SASL server logs each refusal once more: both are counted apart, the larger one counts."""
    QUEUE = auto()
    """Another part of an MTA: it moves mail and sees no password."""
    LOCAL = auto()
    """A part of an MTA that takes mail of its own host: a queue id in its lines is a new message, charged to nobody."""
    ACCESS = auto()
    """An IMAP, POP3 or ManageSieve server, or a proxy in front of some."""
    SASL = auto()
    """Is asked about passwords by MTAs and access servers, and told the client's address: its lines count by the
    entrance or session that they name. Those that name neither are PAM's, and are as those of ``ASKED``."""
    ASKED = auto()
    """Is asked about passwords and knows the account, seldom the address. Where the front end (``MTA``, ``ACCESS``)
    logs its failures with both, these say nothing new and do not count."""
    WEBMAIL = auto()
    """Speaks to MTA and access servers in its users' names. The queue id of its ``submission`` is that of the MTA."""
    FILTER = auto()
    """Judges messages."""


class Session(Enum):
    """How the lines that name the same ``Event.session`` belong together."""

    EACH = auto()
    """Each failure is told by a line of its own."""
    SUM = auto()
    """A failure is the sum of its session; some of it may have been told by lines of others (``EACH``) before."""
    SHARED = auto()
    """Account, address and message stand in different lines."""
    TWICE = auto()
    """A failure is told by two logs, with the mechanism and without it, or by one of them."""


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


class Format(NamedTuple):
    """A format module's entry.

    * ``role``: what its programs are; ``roles``: of single programs, where they are something else.
    * ``programs``: syslog tag (without pid) -> reader. ``imapd`` claims that tag, and ``any/imapd``; ``cyrus/`` claims
      every tag that begins so. Several formats may name the same tag: the first whose reader does not return ``None``
      has the line, and the first of them says what the program is.
    * ``writes``: what its events call their programs (``Event.program``), unless it is the tags.
    * ``session``: how the lines of one session belong together.
    * ``within``: the format through which alone ``programs`` are reached, in place of their tags.
    * ``bare``: (first characters, reader) of lines that no syslog header begins.
    * ``bare_start``: how its bare lines begin, as a pattern; the shipper tells them by it. For programs on ``authlog``.
    * ``objects``: reader of JSON objects, or ``None``.
    * ``clients``: what clients can write into its lines. Tests forge it, and demand that there is such a declaration.
    * ``told_pid``: its readers are told the process id in place of the service.

    For programs whose tag is no fixed word:

    * ``own_log``: (its processes, reader) of a log file whose lines name no host: ``imap(user)<pid>: Info: …``.
    * ``instances``: (how the tags of its instances begin, what a tag's words say): ``postfix-out/submission/smtpd``.
    * ``renamed``: reader of its lines under tags that nobody names.
    """

    name: str
    role: Role
    programs: Mapping[str, Reader]
    roles: Mapping[str, Role] = {}  # never written to
    writes: tuple[str, ...] = ()
    session: Session = Session.EACH
    within: str = ""
    bare: tuple[tuple[str, BareReader], ...] = ()
    bare_start: str = ""
    objects: ObjectReader | None = None
    told_pid: bool = False
    clients: tuple[ClientText, ...] = ()
    own_log: tuple[frozenset[str], Reader] | None = None
    instances: tuple[str, Callable[[list[str]], Claim | None]] | None = None
    renamed: Reader | None = None

    def role_of(self, program: str) -> Role:
        """What one of its programs is."""
        return self.roles.get(program, self.role)

    def written(self) -> tuple[str, ...]:
        """What its events call their programs."""
        return self.writes or tuple(self.programs)
