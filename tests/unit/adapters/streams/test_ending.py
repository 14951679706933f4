"""Who asks a process to end, and what it does then."""

import os
import signal

import pytest

from pipeline.adapters.streams.ending import BEGUN, Ending, begun


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The signals that a process sent itself."""
    sent: list[int] = []
    monkeypatch.setattr(os, "kill", lambda _, number: sent.append(number))
    monkeypatch.setattr(Ending, "limit", lambda _: None)
    return sent


def test_a_process_begins_anew_once_for_its_own_signal(killed: list[int]) -> None:
    ending = Ending()
    ending.begin_again("nothing comes")
    ending.begin_again("nothing comes")
    assert killed == [signal.SIGTERM]
    ending.signalled()
    assert ending.again


def test_whoever_asks_for_an_end_gets_it(killed: list[int]) -> None:
    ending = Ending()
    ending.begin_again("nothing comes")
    ending.signalled()
    ending.signalled()
    assert not ending.again
    other = Ending()
    other.signalled()
    other.begin_again("nothing comes")
    assert not other.again
    assert killed == [signal.SIGTERM]


@pytest.mark.parametrize(("told", "times"), [("", 0), ("3", 3), ("-1", 0), ("x", 0)])
def test_how_often_it_has_begun_anew(monkeypatch: pytest.MonkeyPatch, told: str, times: int) -> None:
    monkeypatch.setenv(BEGUN, told)
    assert begun() == times
