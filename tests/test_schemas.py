"""Messages: what is documented is what is written and read."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import jsonschema
import msgspec
import pytest

from pipeline.detect.decide import ACTOR, Verdict, decide, open_episode
from pipeline.rules import build
from pipeline.rules.config import load
from schemas import codec, kinds
from schemas.codec import DecodeError
from schemas.enforcement import EXAMPLES as DECISIONS
from schemas.enforcement import Decision, decision_id, decision_key, split_key
from schemas.event import EXAMPLES as EVENTS
from schemas.event import Event
from schemas.render import FOLDER, MESSAGES, rendered
from schemas.setting import EXAMPLES as SETTINGS
from schemas.tally import EXAMPLES as TALLIES
from schemas.tally import Tally
from schemas.topics import TOPICS

AT = datetime(2026, 11, 24, 1, 51, 55, tzinfo=UTC)
NAMES = [topic for topic, _, _ in MESSAGES]


def decode(topic: str, value: bytes) -> Any:
    match topic:
        case "events":
            return codec.decode_events(value)[0]
        case "tallies":
            return codec.decode_tallies(value)[0]
        case "enforcement":
            return codec.decode_decision(value)
        case "settings":
            return codec.decode_setting(value)
    return codec.decode_dead_letters(value)[0]


def test_rendered_files_are_not_stale() -> None:
    wanted = dict(rendered())
    assert {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()} == wanted


@pytest.mark.parametrize(("topic", "kind", "examples"), MESSAGES, ids=NAMES)
def test_examples_are_valid_and_can_be_written_and_read(topic: str, kind: type[Any], examples: tuple[Any, ...]) -> None:
    schema = json.loads((FOLDER / f"{topic}.schema.json").read_text(encoding="utf-8"))
    shown = json.loads((FOLDER / f"{topic}.example.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    assert len(shown) == len(examples) > 0
    for message, published in zip(examples, shown, strict=True):
        validator.validate(published)
        validator.validate(json.loads(codec.encode(message)))
        assert decode(topic, codec.encode(message)) == message
        assert msgspec.convert(published, kind) == message


@pytest.mark.parametrize("topic", ["events", "enforcement", "settings", "dead-letters"])
def test_readers_ignore_fields_that_they_do_not_know(topic: str) -> None:
    message = next(examples for name, _, examples in MESSAGES if name == topic)[0]
    more = json.loads(codec.encode(message)) | {"later": {"than": "this"}}
    assert decode(topic, json.dumps(more).encode()) == message


def test_readers_of_tallies_ignore_what_follows() -> None:
    more = [*json.loads(codec.encode(TALLIES[0])), "later", 1]
    assert decode("tallies", json.dumps(more).encode()) == TALLIES[0]
    assert codec.decode_tallies(b'["country","BR","","BR",1.5,3]') == [
        type(TALLIES[0])("country", "BR", "", "BR", 1.5, 3),
    ]


def changed(message: Any, **fields: Any) -> bytes:
    return json.dumps(json.loads(codec.encode(message)) | fields).encode()


@pytest.mark.parametrize(
    ("topic", "value"),
    [
        ("events", changed(EVENTS[0], kind="mail")),
        ("events", changed(EVENTS[0], time="yesterday")),
        ("events", changed(EVENTS[0], nrcpt="2")),
        ("enforcement", changed(DECISIONS[0], action="shout")),
        ("enforcement", changed(DECISIONS[0], subject_kind="planet")),
        ("enforcement", changed(DECISIONS[0], scope="receive")),
        ("enforcement", changed(DECISIONS[0], mode="off")),
        ("enforcement", changed(DECISIONS[0], id="")),
        ("enforcement", changed(DECISIONS[0], subject="")),
        ("enforcement", changed(DECISIONS[0], rule="Rule:1")),
        ("enforcement", changed(DECISIONS[0], issued_at="2026-11-24T01:51:55")),  # no zone
        ("enforcement", changed(DECISIONS[0], expires_at=None)),
        ("enforcement", changed(DECISIONS[0], evidence={"observed": "many"})),
        ("settings", changed(SETTINGS[0], setting="deny")),
        ("settings", changed(SETTINGS[0], subject_kind="planet")),
        ("tallies", b'["planet","x","","",1.0]'),
        ("tallies", b'["account","x","",""]'),
        ("tallies", b'["account","x","","",-1.0]'),
        ("tallies", b'["account","x","","",1.0,-1]'),
        ("tallies", b'["account","x","","",1.0,1.5]'),
        ("dead-letters", b'{"source":"x"}'),
        *((topic, value) for topic in NAMES for value in (b"", b"{", b"null", b"[]", b'"\xff"', b"\0")),
    ],
)
def test_what_is_no_such_message_is_refused(topic: str, value: bytes) -> None:
    with pytest.raises((DecodeError, IndexError)) as refused:  # no record in a frame is no error of the frame
        decode(topic, value)
    assert refused.type is DecodeError or value in (b"", b"\n")
    assert str(refused.value)


def test_a_frame_holds_a_record_a_line() -> None:
    frame = codec.encode_frame(EVENTS)
    assert frame.count(b"\n") in (len(EVENTS), len(EVENTS) - 1)
    assert codec.decode_events(frame) == list(EVENTS)
    hostile = Event("other", AT, "mx", "smtpd", reason='"}\n{"kind":"auth_success"\r\n\0\u2028')
    assert codec.decode_events(codec.encode_frame([hostile, *EVENTS])) == [hostile, *EVENTS]


def test_keys_of_decisions() -> None:
    for decision in DECISIONS:
        assert split_key(decision.key) == (decision.subject_kind, decision.rule, decision.subject)
    assert split_key(decision_key("prefix", "manual", "2001:db8::/32")) == ("prefix", "manual", "2001:db8::/32")
    assert SETTINGS[0].key == "allow:ip:198.51.100.7"
    for wrong in ("", "account", "account:manual"):
        with pytest.raises(ValueError, match="not enough values"):
            split_key(wrong)


def test_ids_of_decisions_tell_rule_subject_and_episode_apart() -> None:
    same = decision_id("manual", "ip", "198.51.100.7", AT)
    assert len(same) == 32
    assert int(same, 16) >= 0
    assert decision_id("manual", "ip", "198.51.100.7", AT.astimezone(timezone(timedelta(hours=9)))) == same
    others = {
        decision_id("other", "ip", "198.51.100.7", AT),
        decision_id("manual", "prefix", "198.51.100.7", AT),
        decision_id("manual", "ip", "198.51.100.8", AT),
        decision_id("manual", "ip", "198.51.100.7", AT + timedelta(seconds=1)),
        decision_id("manual\0ip", "", "198.51.100.7", AT),
    }
    assert len(others | {same}) == 6


def test_the_examples_show_every_way_to_write_a_subject_that_they_claim() -> None:
    assert {d.subject_kind for d in DECISIONS} <= set(kinds.SUBJECT_KINDS)
    assert {d.action for d in DECISIONS} <= set(kinds.ACTIONS)
    assert all(isinstance(d, Decision) and d.issued_at < d.expires_at for d in DECISIONS)


@pytest.mark.parametrize("example", [d for d in DECISIONS if d.actor == ACTOR], ids=lambda example: example.rule)
def test_decisions_of_ours_among_the_examples_are_such_as_the_shipped_rules_make(example: Decision) -> None:
    rules, evidence = build(load(None), "JP"), example.evidence
    (active,) = {a.rule.id: a for of in rules.by_kind.values() for a in of if a.rule.id == example.rule}.values()
    ((group, limit),) = [
        (group, limit)
        for group, limit in active.limits
        if (limit.metric, limit.window, limit.count) == (evidence.metric, evidence.window, evidence.threshold)
    ]
    assert example.subject_kind == "account"
    at = example.issued_at.timestamp()
    tally = Tally("account", example.subject, "", "", at, samples=evidence.lines, queue_ids=evidence.queue_ids)
    verdict = Verdict(active, limit, evidence.observed, group)
    assert decide(verdict, tally, open_episode(active, None, at), rules.home) == example


def test_an_example_of_a_decision_is_ours() -> None:
    assert ACTOR in {d.actor for d in DECISIONS}


def test_topics() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    for topic in TOPICS:
        config = topic.config()
        assert config["cleanup.policy"] == ("compact" if topic.compacted else "delete")
        assert ("retention.ms" in config) != topic.compacted
        assert int(config["max.message.bytes"]) == topic.max_bytes
        assert config["compression.type"] == "producer"
        assert ("message.timestamp.type" in config) == topic.arrival
