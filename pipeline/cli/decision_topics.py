"""What the command ``decisions`` reads from and writes to the topics ``enforcement`` and ``settings``."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TypeVar

import click

from pipeline.adapters.kafka.client import KafkaLog, partition_counts
from pipeline.adapters.kafka.outbox import KafkaOutbox
from pipeline.cli.terminal import printable
from pipeline.networks import Network, parse_network, parse_subject
from pipeline.ports import BrokerUnavailable, MessageRefused, Record, TopicMissing
from schemas.codec import DecodeError, decode_decision, decode_setting
from schemas.enforcement import Decision, split_key
from schemas.kinds import SUBJECT_KINDS, SubjectKind
from schemas.setting import Setting
from schemas.topics import ENFORCEMENT, SETTINGS

Subject = tuple[SubjectKind, str]
T = TypeVar("T")

_WAIT = 15.0


class Unreachable(click.ClickException):
    """The broker does not answer, or has no such topic: nothing was shown or changed."""

    exit_code = 2


def default_actor() -> str:
    """The operator at this terminal."""
    return f"operator:{os.environ.get('USER') or os.getuid()}"


def subject_of(text: str, kind: SubjectKind | None) -> Subject:
    """What the operator typed. Raises click.UsageError."""
    try:
        return parse_subject(text, kind)
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def names(subject: Subject, wanted: Subject) -> bool:
    """Whether a decision about ``subject`` is one about ``wanted``: the same, or the /64 of a wanted IPv6 address."""
    network, source = _network(subject), _network(wanted)
    if network is None or source is None:
        return subject == wanted
    return network == source or (source.length == 128 and network.length == 64 and network.covers(source))


def concerns(subject: Subject, wanted: Subject) -> bool:
    """Whether it is of interest to who asks for ``wanted``: the same, a network around it, or a part of it."""
    network, source = _network(subject), _network(wanted)
    if network is not None and source is not None:
        return network.covers(source)
    if subject[0] == "account_ip":
        account, _, address = subject[1].rpartition("|")
        return concerns(("account", account), wanted) or concerns(("ip", address), wanted) or subject == wanted
    return subject == wanted


def all_decisions(brokers: str) -> list[Decision]:
    """The last decision of each key. Raises Unreachable."""
    return _last(brokers, ENFORCEMENT.name, decode_decision)


def allowlist(brokers: str) -> list[Setting]:
    """Every allowlist entry. Raises Unreachable."""
    return _last(brokers, SETTINGS.name, decode_setting)


def lifted(brokers: str) -> list[dict[str, str]]:
    """Who lifted which decision or entry, when and why, as far as the topics still know. Raises Unreachable."""
    found = {}
    with _reaching(brokers):
        for topic in (ENFORCEMENT.name, SETTINGS.name):
            for partition in range(partition_counts(brokers, [topic])[topic]):
                for record in KafkaLog(brokers, _WAIT).read(topic, partition, 0):
                    found[record.key] = _tombstone(record) if record.value is None else None
    return [tombstone for tombstone in found.values() if tombstone is not None]


def about(key: str) -> Subject | None:
    """The subject of a key of either topic (``kind:rule:subject``, ``allow:kind:subject``), None if it is no key."""
    try:
        first, second, subject = split_key(key)
    except ValueError:
        return None
    kind = second if first == "allow" else first
    return (kind, subject) if kind in SUBJECT_KINDS else None


def write(brokers: str, topic: str, messages: Sequence[tuple[str, bytes]]) -> None:
    """Returns when all replicas in sync have the messages. Raises Unreachable."""
    with _reaching(brokers), KafkaOutbox(brokers, _WAIT) as outbox:
        for key, value in messages:
            outbox.send(topic, key.encode(), value)
        outbox.flush()


def lift(brokers: str, topic: str, keys: Sequence[str], actor: str, note: str) -> None:
    """Writes tombstones that say who, why and when. Raises Unreachable."""
    headers = {"actor": actor, "note": note, "at": datetime.now(UTC).isoformat(timespec="seconds")}
    with _reaching(brokers), KafkaOutbox(brokers, _WAIT) as outbox:
        for key in keys:
            outbox.send(topic, key.encode(), None, [(name, text.encode()) for name, text in headers.items()])
        outbox.flush()


def _network(subject: Subject) -> Network | None:
    if subject[0] not in {"ip", "prefix"}:
        return None
    try:
        return parse_network(subject[1])
    except ValueError:
        return None


def _last(brokers: str, topic: str, decode: Callable[[bytes], T]) -> list[T]:
    with _reaching(brokers):
        state = KafkaLog(brokers, _WAIT).state(topic)
    found = []
    for key, value in state.items():
        try:
            found.append(decode(value))
        except DecodeError as error:
            name = printable(key.decode(errors="backslashreplace"))
            click.echo(f"{topic}: {name} cannot be read: {printable(str(error))}", err=True)
    return found


def _tombstone(record: Record) -> dict[str, str]:
    headers = {name: value.decode(errors="backslashreplace") for name, value in record.headers}
    key = (record.key or b"").decode(errors="backslashreplace")
    return {"key": key} | {name: headers[name] for name in ("actor", "note", "at") if name in headers}


@contextmanager
def _reaching(brokers: str) -> Iterator[None]:
    try:
        yield
    except (BrokerUnavailable, TopicMissing, MessageRefused) as error:
        raise Unreachable(str(error)) from None
    except ValueError as error:  # brokers that are no host:port
        raise click.UsageError(str(error)) from None
