"""Which format has a line: by its syslog tag, its first character, or its JSON object."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import NamedTuple

from pipeline.formats.reading.format import BareReader, Claim, Format, ObjectReader, Outcome, Reader, Role
from pipeline.formats.reading.stamps import Stamps


class Route(NamedTuple):
    """The reader of all lines of a host and tag, and what it is told. ``known``: a format names the tag.
    ``told_pid``: the reader wants the process id in place of the service. ``role``: what the program is."""

    reader: Reader
    host: str
    program: str
    service: str | None
    role: Role
    known: bool = True
    told_pid: bool = False


class Routes:
    """The tables made from the formats, in their order."""

    def __init__(self, formats: Iterable[Format]) -> None:
        formats = tuple(formats)
        programs: dict[str, tuple[Reader, ...]] = {}
        self._roles: dict[str, Role] = {}
        self._bare: dict[str, tuple[BareReader, ...]] = {}
        for entry in formats:
            for program, reader in () if entry.within else entry.programs.items():
                programs[program] = (*programs.get(program, ()), reader)
                self._roles.setdefault(program, entry.role_of(program))
            for firsts, bare in entry.bare:
                for first in firsts:
                    self._bare[first] = (*self._bare.get(first, ()), bare)
        self._told_pid = frozenset(name for entry in formats if entry.told_pid for name in entry.programs)
        self._programs = {name: _first_of(readers) for name, readers in programs.items()}
        self._objects: tuple[ObjectReader, ...] = tuple(entry.objects for entry in formats if entry.objects)
        self._own_logs: tuple[tuple[frozenset[str], Reader, Role], ...] = tuple(
            (*entry.own_log, entry.role) for entry in formats if entry.own_log
        )
        self._instances: tuple[tuple[Callable[[list[str]], Claim | None], Role], ...] = tuple(
            (entry.instances[1], entry.role) for entry in formats if entry.instances
        )
        renamed = [(entry.renamed, entry.role) for entry in formats if entry.renamed]
        self._renamed = (_first_of(tuple(reader for reader, _ in renamed)), renamed[0][1]) if renamed else None

    def tagged(self, host: str, tag: str) -> Route | None:
        """The route of a tag without its pid; ``None`` if no tag looks like this."""
        known = self._programs.get(tag)
        if not host:
            process = tag.partition("(")[0].partition("<")[0]
            for processes, own, role in self._own_logs:
                if process in processes:
                    return Route(own if known is None else _first_of((own, known)), host, tag, None, role)
        if not tag or " " in tag:
            return None
        if known is not None:
            return Route(known, host, tag, None, self._roles[tag], True, tag in self._told_pid)
        if "/" in tag:
            return self._instance(host, tag.split("/"))
        if not host or self._renamed is None:
            return None
        return Route(self._renamed[0], host, tag, None, self._renamed[1], False)

    def _instance(self, host: str, words: list[str]) -> Route | None:
        """The route of a tag whose words stand between slashes, such as ``postfix/smtpd`` and ``site-a/imapd``."""
        family, program = f"{words[0]}/", words[-1]
        reader = self._programs.get(family)
        if reader is not None:
            return Route(reader, host, program, None, self._roles[family])
        for claims, role in self._instances:
            claim = claims(words)
            if claim is not None:
                return Route(claim[0], host, program, claim[1], role)
        reader = self._programs.get(program)
        return None if reader is None else Route(reader, host, program, None, self._roles[program])

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
