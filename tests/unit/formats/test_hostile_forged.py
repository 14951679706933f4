"""No text of a client's, in any field of any format's examples, moves account, address, kind or count."""

import re
from datetime import datetime
from random import Random

import pytest

from pipeline.formats import FORMATS, popa3d
from pipeline.formats.reading.format import Format, Outcome, Unreadable
from pipeline.formats.reading.lines import LineReader, split_frame
from schemas.event import Event
from tests.support.forging import PLACES, Forger, Place, undeclared, wrong
from tests.support.formats import REFERENCE
from tests.support.wrapped import FORMS, plain, whole_second

WHOLE, RANDOM = 60, 30  # texts for each field of each example; of the former there are some 300


@pytest.mark.parametrize("entry", FORMATS, ids=lambda entry: entry.name)
def test_what_clients_can_write_is_declared(entry: Format) -> None:
    assert undeclared(entry) == []


def test_a_format_that_declares_nothing_is_found() -> None:
    bare = undeclared(popa3d.FORMAT._replace(clients=()))
    assert [problem.partition(": ")[2][:30] for problem in bare] == [
        "it does not say what clients c",
        "account 'bob' is a client's te",
    ]


def mistakes(place: Place, texts: list[str], reader: LineReader) -> list[tuple[str, str]]:
    true = LineReader().read(place.line, REFERENCE)
    if isinstance(true, Unreadable):
        return []
    found = []
    for text in texts:
        (line,) = split_frame(place.forged(text).encode(errors="replace"))
        problem = wrong(true, place, text, reader.read(line, REFERENCE))
        if problem:
            found.append((problem, line))
    return found


@pytest.mark.parametrize("name", [entry.name for entry in FORMATS])
def test_no_field_of_a_client_is_taken_for_another(name: str) -> None:
    forger, reader, tried = Forger(name, seed=1), LineReader(), 0
    for place in PLACES:
        if place.format == name:
            texts = forger.some(place, WHOLE, RANDOM)
            tried += len(texts)
            assert mistakes(place, texts, reader) == []
    assert tried > WHOLE


@pytest.mark.parametrize("name", [entry.name for entry in FORMATS])
def test_what_is_around_a_line_changes_nothing(name: str) -> None:
    """Whatever a client writes, a line says in any form what it says in its plain one."""
    forger, pick, tried = Forger(name, seed=2), Random(name), 0
    warm = LineReader()
    for place in PLACES:
        of = plain(place.line) if place.format == name else None
        if of is None:
            continue
        for text in forger.some(place, 8, 8):
            (line,) = split_frame(place.forged(text).encode(errors="replace"))
            forged = plain(line)
            if forged is None or forged.text != forged.text.strip() or forged[:4] != of[:4]:
                continue  # blanks at the ends are not kept by all
            expected, tried = whole_second(LineReader().read(line, REFERENCE)), tried + 1
            for form in pick.sample(sorted(FORMS), 3):
                for record in split_frame(FORMS[form](forged).encode()):
                    assert (form, line, whole_second(warm.read(record, REFERENCE))) == (form, line, expected)
    assert tried or not any(plain(place.line) for place in PLACES if place.format == name)


def careless_login(line: str) -> Outcome:
    """Dovecot's login line, read by whoever looks for ``user=<`` first."""
    user = re.search(r": user=<([^<>]*)>|, user=<([^<>]*)>", line)
    rip = re.search(r"rip=([0-9a-f.:]+)", line[user.start() if user and user[1] is not None else 0 :])
    return event(user and (user[1] or user[2]), rip and rip[1])


def careless_auth(line: str) -> Outcome:
    """A line of Dovecot's auth process: an only field that looks like an address is taken for one."""
    inner = re.search(r"\(([^)]*)\): ", line)
    fields = inner[1].split(",") if inner else [""]
    address = next((field for field in fields if re.fullmatch(r"[0-9.]+|[0-9a-f:]+:[0-9a-f:]+", field)), None)
    return event(fields[0] if fields[0] != address else None, address)


def careless_roundcube(line: str) -> Outcome:
    """Roundcube's line: the last word ``from`` is the one."""
    user, _, after = line.partition("failed for ")[2].rpartition(" from ")
    return event(user.rpartition(" against ")[0] or user, after.partition(". ")[0])


def event(account: str | None, client_ip: str | None) -> Event:
    time = datetime.fromisoformat("2026-11-24T01:50:59Z")
    return Event("auth_failure", time, "", "x", account=(account or "").lower() or None, client_ip=client_ip)


CARELESS = {"dovecot-login": careless_login, "dovecot-auth": careless_auth, "roundcube": careless_roundcube}


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("dovecot-login", "(auth failed, 3 attempts"),
        ("dovecot-auth", "(bob@testbed.example): "),
        ("roundcube", "LOGIN: "),
    ],
)
def test_careless_readers_are_found(name: str, part: str) -> None:
    read, forger = CARELESS[name], Forger(name, seed=1)
    found = set()
    for place in PLACES:
        if place.format == name and part in place.line and place.client.name.startswith(("user", "server")):
            true = read(place.line)
            assert isinstance(true, Event)
            for text in forger.some(place, WHOLE, RANDOM):
                found.add(wrong(true, place, text, read(place.forged(text))))
    assert any("6.6.6.6" in problem or "6::6" in problem for problem in found)
