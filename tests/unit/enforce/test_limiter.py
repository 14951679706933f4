from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pipeline.enforce.limiter import Limiter
from pipeline.enforce.terms import Restriction, restriction_of
from tests.support.decisions import NOW, decision


def limit(subject: str = "alice@example.org", **parameters: int) -> Restriction:
    return restriction_of(decision(subject, action="limit", parameters={"window": 60} | parameters))


def test_messages_are_counted_once_however_often_they_are_asked_about() -> None:
    limiter, held = Limiter(), limit(messages=2)
    asked = ["1", "1", "2", "1", "3", "2", "4"]
    assert [limiter.admit(held, i, "x", 0, NOW) for i in asked] == [True, True, True, True, False, True, False]


def test_recipients_are_counted_one_by_one_at_rcpt_and_by_number_later() -> None:
    limiter, held = Limiter(), limit(recipients=4)
    assert [limiter.admit(held, "1", r, 0, NOW) for r in ("a", "b", "a", "c")] == [True] * 4
    assert limiter.admit(held, "1", "", 3, NOW)
    assert [limiter.admit(held, "2", r, 0, NOW) for r in ("a", "b")] == [True, False]
    assert not limiter.admit(held, "3", "", 1, NOW)


def test_a_message_too_large_for_the_limit_leaves_room_for_smaller_ones() -> None:
    limiter, held = Limiter(), limit(recipients=10)
    assert [limiter.admit(held, i, "", n, NOW) for i, n in (("1", 11), ("2", 10), ("3", 1))] == [False, True, False]


def test_the_window_slides() -> None:
    limiter, held = Limiter(), limit(messages=1)
    times = [0, 59.9, 60, 100, 119.9, 120]
    assert [limiter.admit(held, str(t), "", 1, NOW + t) for t in times] == [True, False, True, False, False, True]


def test_subjects_are_counted_apart_and_the_idlest_is_forgotten_first() -> None:
    limiter, one, two = Limiter(capacity=2), limit("1@example.org", messages=1), limit("2@example.org", messages=1)
    assert limiter.admit(one, "1", "", 1, NOW)
    assert limiter.admit(two, "2", "", 1, NOW)
    assert not limiter.admit(one, "3", "", 1, NOW)
    assert limiter.admit(limit("3@example.org", messages=1), "4", "", 1, NOW)
    assert not limiter.admit(one, "5", "", 1, NOW)
    assert limiter.admit(two, "6", "", 1, NOW)


STEPS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.integers(1, 4)), max_size=40)


@given(STEPS, st.integers(0, 4), st.integers(0, 8))
def test_it_agrees_with_a_list_of_all_messages(steps: list[Any], messages: int, recipients: int) -> None:
    limiter, held = Limiter(), limit(messages=messages, recipients=recipients)
    admitted: dict[int, tuple[float, int]] = {}
    now = NOW
    for wait, instance, count in steps:
        now += wait
        admitted = {i: (at, n) for i, (at, n) in admitted.items() if at > now - 60}
        at, known = admitted.get(instance, (now, 0))
        total = sum(n for _, n in admitted.values()) + max(0, count - known)
        fits = total <= recipients and (instance in admitted or len(admitted) < messages)
        assert limiter.admit(held, str(instance), "", count, now) == fits
        if fits:
            admitted[instance] = (at, max(known, count))


def test_without_an_instance_each_request_is_a_message() -> None:
    limiter, held = Limiter(), limit(messages=2)
    assert [limiter.admit(held, i, "x", 0, NOW) for i in ("", "", "", "1")] == [True, True, False, False]
    limiter, held = Limiter(), limit(recipients=3)
    assert [limiter.admit(held, "", "x", n, NOW) for n in (2, 0, 1)] == [True, True, False]
