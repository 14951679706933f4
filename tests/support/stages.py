"""The stages of the streaming jobs with the shipped rules, fed with recorded logs, without a broker."""

from datetime import UTC
from functools import cache

from pipeline.adapters.geoip import GeoFile
from pipeline.detect.allowlist import Allowlist
from pipeline.detect.stage import DetectStage
from pipeline.metrics import MemoryRecorder, Recorder
from pipeline.normalize.doubles import Doubles
from pipeline.normalize.normalizer import Normalizer
from pipeline.normalize.stage import NormalizeStage
from pipeline.ports import Record
from pipeline.rules import RuleSet, build
from pipeline.rules.config import load
from tests.support.paths import RECORDED

REFERENCE_MS = 1_795_500_000_000
GEO = GeoFile(RECORDED / "geo.mmdb")
FRAME = 200  # lines


@cache
def rules() -> RuleSet:
    """Those that are shipped."""
    return build(load(None), "JP")


def normalize_stage(source: str, partitions: int = 1, recorder: Recorder | None = None) -> NormalizeStage:
    """A new stage of the normaliser."""
    normalizer = Normalizer(rules().file.trusted, UTC, GEO, doubles=Doubles())
    topic, _, partition = source.rpartition("-")
    recorder = recorder or MemoryRecorder()
    return NormalizeStage(topic, int(partition), normalizer, partitions, recorder, edition=lambda: GEO.edition)


def detect_stage(partition: int, partitions: int = 1, recorder: Recorder | None = None) -> DetectStage:
    """A new stage of the detector."""
    in_force = rules(), Allowlist(rules().file.allow)
    return DetectStage(partition, partitions, recorder or MemoryRecorder(), lambda: in_force, limit=4_000_000)


@cache
def mixed_lines() -> tuple[bytes, ...]:
    """Both recorded logs, in order of time."""
    lines = [line for name in ("mail.log", "dovecot.log") for line in (RECORDED / name).read_bytes().splitlines()]
    return tuple(sorted(lines, key=lambda line: line[:15]))


def frames(lines: tuple[bytes, ...], size: int) -> list[bytes]:
    """The lines, so many in each."""
    return [b"\n".join(lines[at : at + size]) for at in range(0, len(lines), size)]


def raw_records(size: int = FRAME) -> list[Record]:
    """The recorded logs as they would lie in partition 0 of ``maillog``."""
    made = frames(mixed_lines(), size)
    return [Record("maillog", 0, offset, REFERENCE_MS, b"mx", frame) for offset, frame in enumerate(made)]
