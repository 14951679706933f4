"""Forged lines: the examples of the formats, with a client's text in them that imitates the program.

A format declares what clients can write where (``Format.clients``). ``place`` finds it in an example, ``Place.line``
puts another text there, as the program would write it, and ``wrong`` says what came out of it that is not true.
"""

import json
import random
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats import FORMATS
from pipeline.formats.reading.format import ClientText, Escape, Format, Outcome, Role, Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from schemas.event import Event
from schemas.kinds import PASSWORD_ERRORS
from tests.support.formats import FILES, REFERENCE

EVIL_IP, EVIL_IP6, EVIL_ACCOUNT, EVIL_ID = "6.6.6.6", "6::6", "v@x", "EV1LEV1LEV1L"

CONTROL = dict.fromkeys((*range(32), 127), "?")
_NEUTERED = str.maketrans(dict.fromkeys(' <>()\\";@', "?"))


def _quoted(text: str) -> str:
    local = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{local}"@x.example'


def _backslash(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _address(text: str) -> str:
    return next((ip for ip in (EVIL_IP, EVIL_IP6) if ip in text), "192.0.2.99")


WRITERS = {
    Escape.NONE: lambda text: text,
    Escape.BACKSLASH: _backslash,
    Escape.QUOTED: _quoted,
    Escape.WORD: lambda text: text.strip(" ").partition(" ")[0] or "x",
    Escape.GRAPHIC: lambda text: re.sub(r"[^!-+\--~]", "_", text),
    Escape.NEUTERED: lambda text: text.translate(_NEUTERED),
    Escape.HOST: lambda text: re.sub(r"[^A-Za-z0-9._-]", "", text) or "x",
    Escape.ADDRESS: _address,
}


def written(client: ClientText, text: str) -> str:
    """The client's text as the program writes it."""
    text = WRITERS[client.escape](text.translate(CONTROL))
    if client.longest and len(text) > client.longest:
        return text[: client.longest - 3] + "..."
    return text


class Place(NamedTuple):
    """Where in an example line a client's text stands; ``spans``: every place of the same text."""

    format: str
    line: str
    client: ClientText
    spans: tuple[tuple[int, int], ...]

    @property
    def text(self) -> str:
        """What the example has there."""
        start, end = self.spans[0]
        return self.line[start:end]

    def forged(self, text: str) -> str:
        """The line with another text of the client's, not escaped yet."""
        put = written(self.client, text)
        if self.line.startswith("{"):
            put = json.dumps(put, ensure_ascii=False)[1:-1]
        line = self.line
        for start, end in reversed(self.spans):
            line = line[:start] + put + line[end:]
        return line


def _places() -> Iterator[Place]:
    for entry in FORMATS:
        for line, _, hostile in FILES[entry.name.replace("-", "_")]:
            if not hostile:
                yield from _places_in(entry, line)


def _places_in(entry: Format, line: str) -> Iterator[Place]:
    for client in entry.clients:
        spans = {
            found.span(group)
            for found in re.finditer(client.where, line)
            for group in range(1, found.re.groups + 1)
            if found[group] is not None
        }
        if spans:
            yield Place(entry.name, line, client, tuple(sorted(spans)))


PLACES = tuple(_places())


def undeclared(entry: Format) -> list[str]:
    """What its examples hold of clients' text and ``Format.clients`` does not tell."""
    rows = [(line, expected) for line, expected, hostile in FILES[entry.name.replace("-", "_")] if not hostile]
    lacking = [] if entry.clients else [f"{entry.name}: it does not say what clients can write into its lines"]
    for client in entry.clients:
        shared = any(client in other.clients for other in FORMATS if other.name != entry.name)
        if not shared and not any(re.search(client.where, line) for line, _ in rows):
            lacking.append(f"{entry.name}: no example shows {client.name}")
    for line, expected in rows:
        if expected == "ignored":
            continue
        told = list(_places_in(entry, line))
        names = ["sender", "recipient"]
        if entry.role is not Role.WEBMAIL:  # which makes it
            names.append("message_id")
        if expected.get("kind") == "auth_failure":
            names.append("account")
        for name in names:
            text = expected.get(name)
            if text and not any(text.lower() in place.text.lower() or place.text.lower() in text for place in told):
                lacking.append(f"{entry.name}: {name} {text!r} is a client's text: {line}")
    return lacking


def wrong(true: Event | None, place: Place, text: str, outcome: Outcome) -> str:
    """What the forged line gives that is not true; empty if all of it is true, or unknown.

    ``true``: what the example gives; ``None``: it is ignored.
    """
    if isinstance(outcome, Unreadable):
        return ""  # it is told: there is a dead letter
    if true is None:
        return f"account or address of an ignored line: {outcome}" if outcome and _names(outcome) else ""
    if outcome is None:
        return "ignored, in silence" if true.kind != "other" else ""
    if outcome.account not in _accounts(true, place, text):
        return f"account {outcome.account!r}"
    if outcome.kind not in (true.kind, "other"):
        return f"kind {outcome.kind}"
    untold = 0 if true.kind == "auth_failure" and true.reason not in PASSWORD_ERRORS else 1
    if outcome.count not in (true.count, untold, 1):
        return f"count {outcome.count}"
    for field in _HELD + (_HELD_OF_DELIVERIES if true.kind == "delivery" else ()):
        value = getattr(outcome, field)
        if value not in (getattr(true, field), None) and (field, place.client.name) not in _CHOSEN:
            return f"{field} {value!r}"
    for field in ("time", "host", "program"):
        if getattr(outcome, field) != getattr(true, field):
            return f"{field} {getattr(outcome, field)!r}"
    guessed = true.reason in PASSWORD_ERRORS and outcome.kind == "auth_failure"
    if guessed and outcome.reason not in PASSWORD_ERRORS and ("reason", place.client.name) not in _CHOSEN:
        return f"reason {outcome.reason}: guessing looks like trouble of the server's"
    return ""


_HELD = ("client_ip", "queue_id", "session", "service", "method", "pool", "nrcpt")
_HELD_OF_DELIVERIES = ("status", "dsn")
_ANSWERS = ("answer of another server", "error of another server", "refusal of another server")
_CHOSEN = {
    ("method", "mechanism"), ("reason", "mechanism"),  # an unknown one is not known
    ("reason", "server's answer"),
    ("session", "session, of a webmail that is trusted"),
    ("service", "host by DNS"),  # whose address has the host's own name is the host, which gives nothing but limits
    *((field, name) for field in (*_HELD_OF_DELIVERIES, "session") for name in _ANSWERS),  # a filter's answer, mostly
}  # fmt: skip


_ANOTHER_VERSION = re.compile(r" \(horde user [^()]*\)$| address=\S+ host=\S+$| host=\S* port=[0-9]*$| against \S*$")
"""What another version of the same program writes behind the user: whoever ends his name so gets it shortened. That
names no account which he could not have named without it."""


def _accounts(true: Event, place: Place, text: str) -> set[str | None]:
    """The accounts that the line may give: the true one, and if it is the client's text, all of that."""
    known = {true.account, None}
    if place.client.name.startswith("user") or (true.account and true.account == place.text.lower()):
        whole = written(place.client, text).lower()
        known |= {whole, whole.strip(" "), whole.strip(" '"), whole.removesuffix(": ")}
        known |= {whole[: found.start()] for found in _ANOTHER_VERSION.finditer(whole)}
        if true.account is not None and place.text:
            known.add(true.account.replace(place.text.lower(), whole))
    return known


def _names(event: Event) -> bool:
    return (event.account or event.client_ip) is not None


def evil(line: str) -> str:
    """A copy of a line with the attacker's identities in place of all that it names."""
    line = re.sub(r"[0-9]+ (?=attempts)", "9 ", line)
    line = re.sub(r"(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d.])", EVIL_IP, line)
    line = re.sub(r"(?<![\w:])[0-9A-Fa-f]{0,4}(?:::?[0-9A-Fa-f]{1,4}){2,7}(?![\w:])", EVIL_IP6, line)
    line = re.sub(r"(?:::ffff:)6\.6\.6\.6", EVIL_IP, line)
    line = re.sub(r"[\w.+-]+@[\w.-]+\w", EVIL_ACCOUNT, line)
    return re.sub(r"<[\w/+]{6,}>", "<x>", line)


def body(line: str) -> str:
    """A line without what stands before its first ``: ``."""
    return line.partition(": ")[2] or line


MARKS = (
    EVIL_ACCOUNT, EVIL_IP, EVIL_IP6, f"[{EVIL_IP}]", "): ", ")", "]", ">", '"', "'", "}", ",", ";", "\\", " ", ": ",
    "\t", "\r", "\x85", "\u2028", "%", "...", "?",
    f": user=<{EVIL_ACCOUNT}>", f", rip={EVIL_IP}", f"client=unknown[{EVIL_IP}]", f" from {EVIL_IP}", " to=<",
    f"sasl_username={EVIL_ACCOUNT}", ", session=<x>", f",{EVIL_IP},<x>", "): Password mismatch", ": unknown user",
    f"> to=<{EVIL_ACCOUNT}> proto=ESMTP helo=<x", f" rhost={EVIL_IP}  user={EVIL_ACCOUNT}", f" ({EVIL_IP})",
    f" [{EVIL_IP}]: ", f" from {EVIL_IP}. ", f" from {EVIL_IP}. AUTHENTICATE PLAIN: x", f" from {EVIL_IP} in session x",
    "mx-1  | ", "[pod/mx-0/a] ", "<22>", "mail.info ", "Nov 24 01:50:43 evil postfix/smtpd[9]: ", '{"message":"',
    "2026-11-24T01:50:43Z stdout F ", " Message forwarded from evil: ",
    "Temporary", "unavailable", "timeout", "disabled", "Could not connect",
)  # fmt: skip


class Forger:
    """Texts that imitate a format: its own examples, whole, in pieces, and with pieces left out."""

    def __init__(self, name: str, seed: int) -> None:
        self._random = random.Random(f"{name} {seed}")
        rows = [evil(line) for line, _, _ in FILES[name.replace("-", "_")]]
        self._copies = sorted({*rows, *map(body, rows)})
        self._tokens = [re.findall(r"[\w.@]+|[^\w.@]", copy) for copy in self._copies]

    def whole(self, place: Place) -> list[str]:
        """What is tried always: the marks, copies of the format's lines, and the line's own text about the place."""
        texts = [*MARKS, *self._copies]
        for start, end in place.spans:
            before, after = evil(place.line[:start]), evil(place.line[end:])
            for who in (EVIL_ACCOUNT, EVIL_IP, "x", "", "?"):
                texts += [who + after, body(before) + who, body(before) + who + after, who + after + who]
                texts += [who + after[:n] for n in range(2, min(len(after), 60), 3)]
        if place.client.longest:  # what is shortened would show nothing: the copies with their middle left out
            texts += [text for copy in self._copies for text in _shortened(copy)]
        return texts

    def some(self, place: Place, whole: int, pieces: int) -> list[str]:
        """The marks, so many of the other texts of ``whole``, and so many at random."""
        texts = self.whole(place)[len(MARKS) :]
        return [
            *MARKS,
            *self._random.sample(texts, min(whole, len(texts))),
            *(self.random(place) for _ in range(pieces)),
        ]

    def random(self, place: Place) -> str:
        """One to three pieces of the format's lines, or marks."""
        pick = self._random
        parts = []
        for _ in range(pick.randint(1, 3)):
            if pick.random() < 0.35:
                parts.append(pick.choice(MARKS))
                continue
            tokens = (
                pick.choice(self._tokens) if pick.random() < 0.5 else re.findall(r"[\w.@]+|[^\w.@]", evil(place.line))
            )
            start = pick.randrange(len(tokens))
            end = min(len(tokens), start + 1 + int(pick.expovariate(1 / 12)))
            parts.append("".join(tokens[start:end]))
        return "".join(parts)


def _shortened(copy: str) -> Iterator[str]:
    """A copy from each of its separators on, with items left out behind the first ones."""
    for start in {0, *(found.start() for found in re.finditer(r": |[(<]|, ", copy))}:
        items = copy[start:].split(", ")
        for kept in range(1, len(items)):
            for last in items[kept:]:
                yield ", ".join((*items[:kept], last)).removesuffix(">")


def main(texts: int) -> None:
    """Every whole text, and ``texts`` at random, in every place; prints what is wrong."""
    seed = random.randrange(1 << 32)
    reader, tried = LineReader(), 0
    forgers = {entry.name: Forger(entry.name, seed) for entry in FORMATS}
    for place in PLACES:
        true = LineReader().read(place.line, REFERENCE)
        if isinstance(true, Unreadable):
            continue
        forger = forgers[place.format]
        for text in (*forger.whole(place), *(forger.random(place) for _ in range(texts))):
            for line in split_frame(place.forged(text).encode(errors="replace")):
                tried += 1
                problem = wrong(true, place, text, reader.read(line, REFERENCE))
                if problem:
                    print(f"{place.format}, {place.client.name}: {problem}\n  {line}")
    print(f"{tried:,} lines, seed {seed}")


if __name__ == "__main__":  # python -m tests.support.forging 1000: a long search
    main(int(sys.argv[1]))
