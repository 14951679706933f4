"""Which reader has a line: by its syslog tag, its first character, or its JSON object."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from pipeline.formats import dovecot, postfix, postfix_delivery
from pipeline.formats.fields import BareReader, Format, ObjectReader, Outcome, Reader
from pipeline.formats.stamps import Stamps


class Route(NamedTuple):
    """The reader of all lines of a host and tag, and what it is told. ``known``: a format names the tag.
    ``told_pid``: the reader wants the process id in place of the service."""

    reader: Reader
    host: str
    program: str
    service: str | None
    known: bool = True
    told_pid: bool = False


class Routes:
    """The tables made from the formats, in their order."""

    def __init__(self, formats: Iterable[Format]) -> None:
        formats = tuple(formats)
        programs: dict[str, tuple[Reader, ...]] = {}
        bare: dict[str, tuple[BareReader, ...]] = {}
        for entry in formats:
            for program, reader in () if entry.within else entry.programs.items():
                programs[program] = (*programs.get(program, ()), reader)
            for firsts, bare_reader in entry.bare:
                for first in firsts:
                    bare[first] = (*bare.get(first, ()), bare_reader)
        self._told_pid = frozenset(name for entry in formats if entry.told_pid for name in entry.programs)
        self._programs = {name: _first_of(readers) for name, readers in programs.items()}
        self._bare = bare
        self._objects: tuple[ObjectReader, ...] = tuple(entry.objects for entry in formats if entry.objects)

    def tagged(self, host: str, tag: str) -> Route | None:
        """The route of a tag without its pid; ``None`` if no tag looks like this."""
        if not host and dovecot.is_process(tag):
            return Route(self._own_log(tag), host, tag, None)
        if not tag or " " in tag:
            return None
        reader = self._programs.get(tag)
        if reader is not None:
            return Route(reader, host, tag, None, True, tag in self._told_pid)
        first, *middle = tag.split("/")
        if not middle:
            return Route(dovecot.read_renamed, host, tag, None, False) if host else None
        program = middle[-1]
        reader = self._programs.get(f"{first}/")
        if reader is not None:
            return Route(reader, host, program, None)
        if first.startswith("postfix") or program in postfix.READERS:
            instance = middle[-2] if len(middle) > 1 else ""
            if program == "smtpd":
                service: str | None = instance or "smtp"
            else:
                service = postfix_delivery.pool_of(program, instance or first.partition("postfix-")[2])
            return Route(postfix.READERS.get(program, postfix.read_other), host, program, service)
        reader = self._programs.get(program)
        return None if reader is None else Route(reader, host, program, None)

    def bare(self, line: str, stamps: Stamps) -> Outcome:
        """The outcome of a line that begins with no syslog header."""
        for reader in self._bare.get(line[:1], ()):
            outcome = reader(line, stamps)
            if outcome is not None:
                return outcome
        return None

    def object(self, fields: Mapping[str, object], stamps: Stamps) -> Outcome:
        """The outcome of a JSON object."""
        for reader in self._objects:
            outcome = reader(fields, stamps)
            if outcome is not None:
                return outcome
        return None

    def _own_log(self, tag: str) -> Reader:
        """Of lines without a host: Dovecot's own log if a level follows the tag, else what the tag says."""
        other = self._programs.get(tag)
        return dovecot.read_process if other is None else _first_of((dovecot.read_process, other))


def _first_of(readers: tuple[Reader, ...]) -> Reader:
    if len(readers) == 1:
        return readers[0]

    def read(time: datetime, host: str, program: str, service: str | None, first: str, rest: str) -> Outcome:
        for reader in readers:
            outcome = reader(time, host, program, service, first, rest)
            if outcome is not None:
                return outcome
        return None

    return read
