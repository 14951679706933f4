"""Restrictions by the second at which they are over, against a plain list of them."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.enforce.due import Due
from pipeline.enforce.terms import restriction_of
from tests.support.decisions import NOW, decision

lengths = st.sampled_from((0.25, 0.5, 1, 1.5, 2, 3, 60, 3600)) | st.floats(0, 5)
steps = st.lists(st.tuples(lengths, st.booleans()), max_size=40)


@given(steps, st.floats(-1, 5), st.floats(-1, 5), st.integers(0, 5), st.integers(1, 4))
def test_what_is_over_is_found_whether_it_was_taken_out_or_not(
    added: list[tuple[float, bool]], until: float, at: float, most: int, size: int
) -> None:
    due = Due()
    made = [restriction_of(decision(f"user{n}", seconds=length)) for n, (length, _) in enumerate(added)]
    due.add_all(made)
    for restriction, (_, live) in zip(made, added, strict=True):
        restriction.live = live
    taken = due.over(NOW + until, most)
    assert len(taken) <= most
    assert all(r.live and r.expires_at <= NOW + until for r in taken)
    parts = list(due.hidden(NOW + at, size))
    assert all(len(part) <= size for part in parts)
    left = [r for r in made if r.live and r not in taken]
    assert {id(r) for part in parts for r in part} == {id(r) for r in left if r.expires_at <= NOW + at}
    assert sum(map(len, parts)) == len({id(r) for part in parts for r in part})
    assert {id(r) for part in due.parts(size) for r in part} == {id(r) for r in left}
