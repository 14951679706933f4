"""Options that several commands take: each is read in one way, whichever command is asked."""

import zlib
from datetime import timedelta
from itertools import product
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.cli import COMMANDS, main
from pipeline.cli.common import Duration, clear_errors, country_lookup, rules_in_force
from pipeline.ports import BrokerUnavailable, StoreUnavailable
from pipeline.rules.config import RulesError, seconds
from pipeline.settings import SettingsError
from tests.support.paths import ROOT

WITH_ZONE = ("demo", "parse", "replay", "load", "backtest", "suggest", "ship")
WITH_HOME = ("demo", "replay", "load", "backtest", "suggest")
NEEDED = {"load": ("--into", "folder"), "backtest": ("--rules", str(ROOT / "pipeline/rules/default.toml"))}


def options(command: str) -> set[str]:
    found = main.get_command(click.Context(main), command)  # type: ignore[attr-defined]  # it is a group
    return {option for parameter in found.params for option in parameter.opts}


def test_the_lists_above_leave_no_command_out() -> None:
    assert {name for name, _ in COMMANDS if "--zone" in options(name)} == set(WITH_ZONE)
    assert {name for name, _ in COMMANDS if "--home" in options(name)} == set(WITH_HOME)


@pytest.mark.parametrize(
    ("command", "option", "value", "told"),
    [
        *(
            (c, "--zone", v, "no IANA zone such as Asia/Tokyo")
            for c, v in product(WITH_ZONE, ("X/Y", "../etc", "Asia"))
        ),
        *((c, "--home", v, "no ISO 3166 code such as JP") for c, v in product(WITH_HOME, ("jp", "JPN", "1A", ""))),
    ],
)
def test_an_impossible_zone_or_home_is_refused_by_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, option: str, value: str, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mail.log").write_text("")
    result = CliRunner().invoke(main, [command, "mail.log", *NEEDED.get(command, ()), option, value])
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Error: Invalid value for '{option}': {value!r} is {told}" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mail.log"]


@given(st.one_of(st.from_regex(r"\A[0-9]{1,10}[smhdw]\Z"), st.text(max_size=6)))
@example("3653d")
@example("3654d")
@example("1000000s")
@example("0s")
@example("\u0663d")
def test_a_duration_is_what_the_rules_file_takes_up_to_ten_years(text: str) -> None:
    units = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
    number, unit = text[:-1], text[-1:]
    right = 1 <= len(number) <= 9 and set(number) <= set("0123456789") and unit in units
    length = int(number) * units[unit] if right else 0
    if 0 < length <= 999_999 * 86_400:
        assert seconds(text) == length
    else:
        with pytest.raises(ValueError, match="is no duration"):
            seconds(text)
    if 0 < length <= 3653 * 86_400:
        assert Duration().convert(text, None, None) == timedelta(seconds=length)
    else:
        with pytest.raises(click.BadParameter, match="no length of time such as 30m, 2h or 7d"):
            Duration().convert(text, None, None)


@pytest.mark.parametrize(
    "error",
    [
        *(RulesError("x.toml: why"), SettingsError("why"), BrokerUnavailable("why"), StoreUnavailable("why")),
        *(FileNotFoundError(2, "why", "x"), EOFError("cut off"), zlib.error("damaged")),
    ],
)
def test_what_people_can_mend_is_told_in_a_sentence(error: Exception) -> None:
    with pytest.raises(click.ClickException) as told, clear_errors():
        raise error
    assert told.value.message == str(error)


def test_mistakes_of_ours_keep_their_traces() -> None:
    with pytest.raises(KeyError), clear_errors(ValueError):
        raise KeyError("x")
    with pytest.raises(click.ClickException, match="why"), clear_errors(KeyError, ValueError):
        raise ValueError("why")


def test_without_files_there_are_the_shipped_rules_and_no_country(tmp_path: Path) -> None:
    assert country_lookup(None)("192.0.2.1") == ""
    empty = tmp_path / "empty.toml"
    empty.write_text("")
    assert rules_in_force(None, "JP").fingerprint == rules_in_force(empty, "JP").fingerprint
    assert rules_in_force(None, "JP").fingerprint != rules_in_force(None, "FR").fingerprint
    empty.write_text("[rules.nothing]\n")
    with pytest.raises(RulesError, match=r"empty\.toml: rules\.nothing: there is no such rule"):
        rules_in_force(empty, "JP")
