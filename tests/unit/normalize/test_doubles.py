"""Lines that several files hold count as often as the file with the most of them has them; honest repeats all count."""

import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.metrics import MemoryRecorder
from pipeline.networks import OurHosts
from pipeline.normalize.doubles import Doubles
from pipeline.normalize.normalizer import Normalizer
from pipeline.normalize.stage import NormalizeStage
from pipeline.partition import FILE, Outgoing
from pipeline.ports import Record
from pipeline.replay import LogFrame, Normalizers
from schemas.codec import decode_events, decode_tallies
from schemas.event import Event
from schemas.tally import Tally
from schemas.topics import EVENTS, TALLIES
from tests.support.stages import REFERENCE_MS, mixed_lines, normalize_stage

DOUBLED = "sekimori_normalize_doubled_lines_total"
TRIED = "Nov 24 01:50:4{} {} postfix/smtpd[1]: warning: x[198.51.100.{}]: SASL PLAIN authentication failed: x"
KEPT = ("messages", "recipients", "failed", "errors", "errors_mta", "errors_sasl", "successes", "webmail")

Files = list[list[str]]
LINES = st.lists(st.builds(TRIED.format, st.integers(0, 1), st.just("mx"), st.integers(0, 2)), max_size=12)
FILES = st.lists(LINES, max_size=4)
CLIENT = (
    "Nov 24 01:50:43 mx postfix/submission/smtpd[1]: A0: client=x[198.51.100.7], sasl_method=PLAIN, "
    "sasl_username=a@x.example"
)
QUEUED = "Nov 24 01:50:43 mx postfix/qmgr[1]: A0: from=<a@x.example>, size=9, nrcpt=2 (queue active)"
BOUNCED = (
    "Nov 24 01:50:44 mx postfix/smtp[1]: A0: to=<b@y.example>, relay=none, delay=0, delays=0/0/0/0, dsn=5.1.1, "
    "status=bounced (no such user)"
)


def model(files: Iterable[Sequence[str]]) -> Counter[str]:
    """What is right, slowly: of each line as many as the file with the most of them has."""
    most: Counter[str] = Counter()
    for lines in files:
        most |= Counter(lines)
    return most


def interleaved(
    files: Sequence[Sequence[str]], chance: random.Random, longest: int = 5
) -> Iterator[tuple[int, list[str]]]:
    """(number of the file, lines): frames of all files in any order, but those of each in theirs."""
    left = [list(lines) for lines in files]
    while waiting := [number for number, lines in enumerate(left) if lines]:
        number = chance.choice(waiting)
        size = chance.randint(1, longest)
        yield number, left[number][:size]
        left[number] = left[number][size:]


def sums(tallies: Iterable[Tally]) -> Counter[tuple[str, ...]]:
    """All that rules may count, by subject and peer."""
    counts: Counter[tuple[str, ...]] = Counter()
    for tally in tallies:
        for field in KEPT:
            counts[tally.kind, tally.subject, tally.peer, tally.country, field] += getattr(tally, field)
    return +counts


def of_topic(out: Iterable[Outgoing]) -> tuple[list[Event], list[Tally]]:
    sent = list(out)
    events = [event for o in sent if o.topic == EVENTS.name for event in decode_events(o.value)]
    return events, [tally for o in sent if o.topic == TALLIES.name for tally in decode_tallies(o.value)]


class Partition:
    """A partition of ``maillog``, and what became of what was written to it."""

    def __init__(self) -> None:
        self.recorder = MemoryRecorder()
        self.stage = normalize_stage("maillog-0", recorder=self.recorder)
        self.out: list[Outgoing] = []
        self._offset = 0

    def write(self, lines: Sequence[str], file: str | None, key: bytes = b"mx") -> None:
        headers = () if file is None else ((FILE, file.encode()),)
        record = Record("maillog", 0, self._offset, REFERENCE_MS, key, "\n".join(lines).encode(), headers)
        self.out += self.stage.process(record)
        self._offset += 1

    def restart(self) -> None:
        saved = list(self.stage.save())
        self.stage = normalize_stage("maillog-0", recorder=self.recorder)
        self.stage.load(saved)

    @property
    def events(self) -> list[Event]:
        return of_topic(self.out)[0]

    @property
    def counts(self) -> Counter[tuple[str, ...]]:
        return sums(of_topic(self.out)[1])

    @property
    def doubled(self) -> float:
        return sum(self.recorder.values(DOUBLED))


def alone(lines: Sequence[str]) -> Partition:
    """The lines as one file has them."""
    partition = Partition()
    partition.write(lines, "one")
    return partition


@settings(max_examples=300)
@given(FILES, st.randoms(use_true_random=False))
def test_a_line_counts_as_often_as_the_file_with_the_most_of_it_has_it(files: Files, chance: random.Random) -> None:
    doubles, counted = Doubles(), Counter[str]()
    for number, lines in interleaved(files, chance):
        pairs = [(Event("auth_failure", datetime(2026, 11, 24, tzinfo=UTC), "mx", "smtpd"), line) for line in lines]
        known = set(map(id, doubles.among(pairs, number, "")))
        counted.update(line for event, line in pairs if id(event) not in known)
        if chance.random() < 0.2:
            dumped, doubles = doubles.dump(), Doubles()
            doubles.load(dumped)
            assert doubles.dump() == dumped
    assert counted == model(files)


@settings(max_examples=150, deadline=None)
@given(FILES, st.randoms(use_true_random=False))
def test_in_the_cluster(files: Files, chance: random.Random) -> None:
    partition = Partition()
    for number, lines in interleaved(files, chance):
        partition.write(lines, f"file {number}")
        if chance.random() < 0.2:
            partition.restart()
    right = model(files)
    assert partition.counts == alone(list(right.elements())).counts
    assert sum(event.kind == "auth_failure" for event in partition.events) == right.total()
    assert len(partition.events) == sum(map(len, files)), "no event loses its place in its frame"
    assert partition.doubled == sum(map(len, files)) - right.total()


@settings(max_examples=150, deadline=None)
@given(FILES, st.randoms(use_true_random=False))
def test_in_memory(files: Files, chance: random.Random) -> None:
    cut: list[list[LogFrame]] = [[] for _ in files]
    for number, lines in interleaved(files, chance):
        cut[number].append(LogFrame("", "\n".join(lines).encode(), REFERENCE_MS / 1000))
    found = list(Normalizers(OurHosts()).in_order([(f"{n}.log", frames) for n, frames in enumerate(cut)]))
    right = model(files)
    assert sum(event.kind == "auth_failure" for f in found for event in f.batch.events) == right.total()
    assert sum(f.counts.doubled for f in found) == sum(map(len, files)) - right.total()


def test_lines_of_no_file_are_of_one_sender() -> None:
    """What rsyslog sends: two equal failures within a second are two, in one message or in two."""
    line = TRIED.format(0, "mx", 1)
    partition = Partition()
    partition.write([line, line], None)
    partition.write([line], None)
    assert partition.doubled == 0
    partition.write([line] * 4, "also shipped from a file")
    assert partition.doubled == 3
    assert sum(event.kind == "auth_failure" for event in partition.events) == 4


def test_hosts_whose_lines_do_not_name_them_have_lines_of_their_own() -> None:
    line = "Nov 24 01:50:43 auth: Info: passwd-file(bob@x.example,198.51.100.7): Password mismatch"
    partition = Partition()
    for host in (b"imap1", b"imap2"):
        partition.write([line], f"of {host!r}", host)
    assert partition.doubled == 0
    partition.write([line], "another file", b"imap2")
    assert partition.doubled == 1


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 400), st.integers(1, 3))
def test_two_files_that_hold_the_same_log_count_as_one(seed: int, longest: int, files: int) -> None:
    """Messages and sessions whose lines lie in several frames, with those of the other file between them."""
    lines = [line.decode() for line in mixed_lines()[:3000]]
    partition = Partition()
    for number, part in interleaved([lines] * files, random.Random(seed), longest):
        partition.write(part, f"file {number}")
    one = alone(lines)
    assert partition.counts == one.counts
    kinds = [Counter(event.kind for event in of.events) for of in (partition, one)]
    assert all(kinds[0][kind] == kinds[1][kind] for kind in ("auth_failure", "auth_success", "reject"))
    assert kinds[0]["submission"] == kinds[1]["submission"] > 100


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 32), st.integers(1, 3), st.integers(1, 3))
def test_sessions_of_opensmtpd_are_not_ended_by_their_doubles(seed: int, longest: int, files: int) -> None:
    texts = (
        "e060fa43c8861d18 smtp connected address=198.51.100.7 host=pc.example.net",
        "e060fa43c8861d18 smtp authentication user=alice result=permfail",
        "e060fa43c8861d18 smtp authentication user=alice result=ok",
        "e060fa43c8861d18 smtp message msgid=a1b2c3d4 size=412 nrcpt=2 proto=ESMTP",
        "e060fa43c8861d18 smtp envelope evpid=a1b2c3d4e5f60718 from=<alice@x.example> to=<bob@y.example>",
        "e060fa43c8861d18 smtp disconnected reason=quit",
    )
    lines = [f"Nov 24 03:24:27 mx smtpd[8]: {text}" for text in texts]
    partition = Partition()
    for number, part in interleaved([lines] * files, random.Random(seed), longest):
        partition.write(part, f"file {number}")
    one = alone(lines)
    assert partition.counts == one.counts
    assert {key[4]: count for key, count in one.counts.items() if key[0] == "account"} == {
        "messages": 1, "recipients": 2, "errors_mta": 1, "successes": 2,
    }  # fmt: skip


def test_a_file_that_lacks_some_lines_takes_nothing_from_one_that_has_all() -> None:
    """mail.warn and the like: the line that says that a message was accepted says nothing without the client's."""
    whole, part = [CLIENT, QUEUED, BOUNCED], [QUEUED, BOUNCED]
    for files in ((part, whole), (whole, part), (part, whole, whole)):
        partition = Partition()
        for number, lines in enumerate(files):
            partition.write(lines, f"file {number}")
        assert partition.counts == alone(whole).counts
        streams = [
            (f"{n}.log", [LogFrame(str(n), "\n".join(f).encode(), REFERENCE_MS / 1000)]) for n, f in enumerate(files)
        ]
        found = Normalizers(OurHosts()).in_order(streams)
        assert sum(event.kind == "submission" for f in found for event in f.batch.events) == 1


def test_a_file_that_is_sent_again_counts_once_and_what_is_new_in_it_counts() -> None:
    lines = [TRIED.format(second, "mx", address) for second in range(10) for address in range(100)]
    partition = Partition()
    for at in range(0, 800, 100):
        partition.write(lines[at : at + 100], "first")
    partition.restart()
    for at in range(0, 1000, 50):
        partition.write(lines[at : at + 50], "again, under another id")
    assert partition.doubled == 800
    assert partition.counts == alone(lines).counts


@pytest.mark.parametrize("half", [1, 10, 100])
def test_memory_is_bounded_and_the_longest_unseen_is_forgotten_first(half: int) -> None:
    doubles, event = Doubles(half=half), Event("auth_failure", datetime(2026, 11, 24, tzinfo=UTC), "mx", "smtpd")

    def is_double(number: int, file: int) -> bool:
        return bool(doubles.among([(event, f"line {number}")], file, ""))

    assert not any(is_double(number, 1) for number in range(5 * half))
    assert len(doubles._young) + len(doubles._old) <= 2 * half + 1
    assert all(is_double(number, 2) for number in range(4 * half, 5 * half)), "the last half is known"
    assert not is_double(0, 2), "the first is forgotten, and counts again"


def test_a_state_of_before_knows_no_doubles() -> None:
    before = Normalizer(OurHosts())
    stage = normalize_stage("maillog-0")
    older = NormalizeStage("maillog", 0, before, 1, MemoryRecorder(), lambda: 0)
    line = TRIED.format(0, "mx", 1).encode()
    older.process(Record("maillog", 0, 0, REFERENCE_MS, b"mx", line, ((FILE, b"a"),)))
    stage.load(list(older.save()))
    assert stage.position == 0
    again = [stage.process(Record("maillog", 0, n, REFERENCE_MS, b"mx", line, ((FILE, b"%d" % n),))) for n in (1, 2)]
    assert [of_topic(out)[0][0].kind for out in again] == ["auth_failure", "other"]
