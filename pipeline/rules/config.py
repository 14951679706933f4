"""The rules file: what operators tune. TOML, laid over the shipped ``default.toml``; anything unknown is refused.

A limit reads ``"20 messages / 10m"``: twenty are too many within ten minutes. Limits are grouped by class of the
connecting country: ``all``, ``home`` (also: unknown), ``abroad``, or a country's ISO 3166 code, which then replaces
``home`` or ``abroad`` for that country.
"""

import ipaddress
import re
import tomllib
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from pipeline.networks import OurHosts, parse_network
from pipeline.subjects import check_account, check_country
from schemas.kinds import COUNTRIES, Action, Scope
from schemas.times import DAY, HOUR, MINUTE

_UNITS = {"s": 1, "m": MINUTE, "h": HOUR, "d": DAY}
_DURATION = re.compile(r"([0-9]{1,9})([smhd])")
_LONGEST = 999_999 * DAY
_LIMIT = re.compile(r"([0-9]{1,9}) ([a-z_]+) / ([0-9]{1,6}[smhd])")
_CLASSES = ("all", "home", "abroad")
T = TypeVar("T")


class RulesError(ValueError):
    """The rules file is wrong. The message names file, key and why."""


class Limit(msgspec.Struct, frozen=True):
    """``count`` of ``metric`` within ``window`` seconds are too many."""

    count: int
    metric: str
    window: int


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is done instead when a network is at home."""

    action: Action | None = None
    scope: Scope | None = None


class RuleConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One rule's table.

    ``for_`` is the first restriction's duration, doubled at each repetition up to ``cap``, and starts anew after
    ``decay`` without one. ``times``: how many times the usual level; ``share``: part of all (0 to 1), where a rule
    has such a condition.
    """

    action: Action
    limits: dict[str, list[str]]
    mode: Literal["enforce", "shadow", "off"] = "enforce"
    scope: Scope = "send"
    for_: str = msgspec.field(default="6h", name="for")
    cap: str = "7d"
    decay: str = "7d"
    accuse: bool = False
    times: Annotated[float, Meta(gt=0)] = 1.0
    share: Annotated[float, Meta(ge=0, le=1)] = 0.0
    parameters: dict[str, str | int | float] = {}
    home: Override | None = None


class Allow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is never restricted."""

    accounts: list[Annotated[str, Meta(min_length=1, max_length=1024)]] = []
    addresses: list[str] = []
    countries: list[str] = []


class Brake(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a rule gone wild is held, on each partition. Decisions about accounts and networks that were used well for
    long are too many: in an hour, of one rule, above ``hourly`` and ``times`` what is usual in an hour of the last
    week; in a day, of all rules, above ``hourly`` and above the ``share`` of the active accounts. 0 hourly: no brake.
    """

    hourly: Annotated[int, Meta(ge=0, le=1_000_000)] = 10
    times: Annotated[float, Meta(gt=0)] = 10.0
    share: Annotated[float, Meta(gt=0, le=1)] = 0.02


class RulesFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The whole file. ``subjects``: how many are remembered, of all kinds together, over all partitions. ``mode``:
    ``shadow`` puts every rule that is not off in shadow mode."""

    rules: dict[str, RuleConfig]
    allow: Allow = Allow()
    trusted: OurHosts = OurHosts()
    mode: Literal["enforce", "shadow"] = "enforce"
    brake: Brake = Brake()
    subjects: Annotated[int, Meta(ge=1000, le=100_000_000)] = 4_000_000

    def subjects_of_one(self, partitions: int) -> int:
        """How many the detector of one of so many partitions remembers."""
        return max(1, self.subjects // partitions)


def seconds(text: str) -> int:
    """``30m`` -> 1800. Raises ValueError."""
    match = _DURATION.fullmatch(text)
    length = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 0 < length <= _LONGEST:
        raise ValueError(f"{text!r} is no duration such as 90s, 30m, 6h or 7d")
    return length


def parse_limit(text: str) -> Limit:
    """``20 messages / 10m``. Raises ValueError. Windows reach from 1 minute to 24 hours in whole steps."""
    match = _LIMIT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no limit such as '20 messages / 10m'")
    count, metric, window = int(match[1]), match[2], seconds(match[3])
    if count < 1:
        raise ValueError(f"{text!r}: the count must be at least 1")
    if not 60 <= window <= DAY:
        raise ValueError(f"{text!r}: a window is between 1m and 24h")
    step = 5 if window <= 600 else 60 if window <= 3600 else 600
    if window % step:
        raise ValueError(f"{text!r}: a window of that length goes in steps of {step} s")
    return Limit(count, metric, window)


def default_text() -> str:
    """The shipped rules file."""
    return (resources.files("pipeline.rules") / "default.toml").read_text(encoding="utf-8")


def load(path: Path | None) -> RulesFile:
    """The shipped rules with the file laid over them. Raises RulesError (also when the file cannot be read)."""
    base = _parse(default_text(), "default.toml")
    if path is None:
        return _convert(base, "default.toml")
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{path}: cannot be read: {error}") from None
    return _convert(_overlay(base, _parse(text, str(path)), str(path)), str(path))


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"{name}: no valid TOML: {error}") from None


def _overlay(base: dict[str, Any], over: dict[str, Any], name: str) -> dict[str, Any]:
    """Keys given replace the shipped ones; rules key by key, limits class by class."""
    rules = dict(base["rules"])
    given = over.get("rules", {})
    if not isinstance(given, dict):
        raise RulesError(f"{name}: rules: must be a table")
    for rule, table in given.items():
        if rule not in rules:
            raise RulesError(f"{name}: rules.{rule}: there is no such rule; there are {', '.join(sorted(rules))}")
        if not isinstance(table, dict):
            raise RulesError(f"{name}: rules.{rule}: must be a table")
        limits = table.get("limits", {})
        merged = {**rules[rule]["limits"], **limits} if isinstance(limits, dict) else limits
        rules[rule] = {**rules[rule], **table, "limits": merged}
    return {**base, **over, "rules": rules}


def _convert(data: dict[str, Any], name: str) -> RulesFile:
    rules = {rule: _typed(table, RuleConfig, f"{name}: rules.{rule}.") for rule, table in data["rules"].items()}
    file = _typed({**data, "rules": rules}, RulesFile, f"{name}: ")
    for rule, config in file.rules.items():
        _check(rule, config, name)
    for read in (ipaddress.ip_network, parse_network):
        _check_each(file.allow.addresses, read, f"{name}: allow.addresses")
    _check_each(file.allow.accounts, check_account, f"{name}: allow.accounts")
    _check_each(file.allow.countries, check_country, f"{name}: allow.countries")
    _check_each(file.trusted.hosts, ipaddress.ip_network, f"{name}: trusted.hosts")
    _check_each(file.trusted.webmail, ipaddress.ip_address, f"{name}: trusted.webmail")
    return file


def _typed(data: dict[str, Any], kind: type[T], at: str) -> T:
    """``data`` as a struct. Raises RulesError: msgspec's "why - at `$.a[...].b`" with the key in front."""
    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as error:
        why, _, where = str(error).partition(" - at `$")
        key = f"{at}{where.strip('.`')}".rstrip(".: ")
        raise RulesError(f"{key}: {why}") from None


def _check_each(texts: Iterable[str], read: Callable[[str], object], at: str) -> None:
    for text in texts:
        try:
            read(text)
        except ValueError as error:
            raise RulesError(f"{at}: {error}") from None


def _check(rule: str, config: RuleConfig, name: str) -> None:
    at = f"{name}: rules.{rule}"
    for key, text in (("for", config.for_), ("cap", config.cap), ("decay", config.decay)):
        try:
            seconds(text)
        except ValueError as error:
            raise RulesError(f"{at}.{key}: {error}") from None
    for group, limits in config.limits.items():
        if group not in _CLASSES and group not in COUNTRIES:
            raise RulesError(f"{at}.limits.{group}: is none of all, home, abroad or a country code such as CN")
        for text in limits:
            try:
                parse_limit(text)
            except ValueError as error:
                raise RulesError(f"{at}.limits.{group}: {error}") from None
