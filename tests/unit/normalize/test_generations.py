"""Bounded memory forgets what was not touched for longest."""

from pipeline.normalize.generations import Generations


def test_generations_hold_what_was_touched_last() -> None:
    held: Generations[int] = Generations(4)
    for n in range(4):
        held.put(("", str(n)), n)
    assert held.get(("", "0")) == 0
    for n in range(4, 6):
        held.put(("", str(n)), n)
    assert held.get(("", "0")) == 0
    assert held.get(("", "1")) is None
    assert held.pop(("", "0")) == 0
    assert held.get(("", "0")) is None
    copied: Generations[int] = Generations(4)
    copied.load(held.dump())
    assert copied.dump() == held.dump()
