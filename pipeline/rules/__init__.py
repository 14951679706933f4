"""Rules: what is wrong with a subject's counts. One small file each, timed examples beside it.

To add one: a file with ``RULE``, its ``.txt`` with examples that fire and that just miss, an entry in ``RULES``, a
table in ``default.toml``; docs/add-a-rule.md goes through it.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import msgspec

from pipeline.rules import (
    account_many_guessers,
    account_many_origins,
    account_password_errors,
    account_send_rate,
    account_send_surge,
    country_send_rate,
    failed_recipients,
    foreign_senders,
    ip_accused,
    ip_many_accounts,
    ip_password_errors,
    ip_send_rate,
    password_error_spike,
    success_after_failures,
)
from pipeline.rules.config import Limit, RuleConfig, RulesError, RulesFile, parse_limit, seconds
from pipeline.rules.rule import Rule
from pipeline.windows.layout import NOWHERE
from schemas.tally import CountedKind

RULES: tuple[Rule, ...] = (
    success_after_failures.RULE,
    account_many_origins.RULE,
    account_send_rate.RULE,
    account_send_surge.RULE,
    foreign_senders.RULE,
    failed_recipients.RULE,
    account_many_guessers.RULE,
    account_password_errors.RULE,
    ip_many_accounts.RULE,
    ip_password_errors.RULE,
    ip_send_rate.RULE,
    ip_accused.RULE,
    country_send_rate.RULE,
    password_error_spike.RULE,
)


@dataclass(frozen=True)
class Active:
    """A rule with its configuration. ``limits``: by class of country. Durations in seconds."""

    rule: Rule
    config: RuleConfig
    limits: tuple[tuple[str, Limit], ...]
    duration: int
    cap: int
    decay: int
    special: frozenset[bytes]
    """Countries with limits of their own."""

    def choose(self, group: str, countries: frozenset[bytes], home: bytes) -> frozenset[bytes]:
        """Those of ``countries`` that a group of limits is for; the very same set if that is all of them."""
        if group == "home":
            chosen = countries & {home, NOWHERE} - self.special
        elif group == "abroad":
            chosen = countries - self.special - {home, NOWHERE}
        else:
            chosen = countries & {group.encode()}
        return countries if len(chosen) == len(countries) else chosen


@dataclass(frozen=True)
class RuleSet:
    """The rules in force, by the kind of subject that they judge. ``home``: ISO 3166 code of our country."""

    file: RulesFile
    home: str
    by_kind: dict[CountedKind, tuple[Active, ...]]

    @cached_property
    def fingerprint(self) -> bytes:
        """16 bytes that are others when the rules are: what was found by others must be looked at again."""
        versions = [(rule.id, rule.version) for rule in RULES]
        return blake2b(msgspec.msgpack.encode((self.file, self.home, versions)), digest_size=16).digest()


def build(file: RulesFile, home: str, name: str = "rules") -> RuleSet:
    """Checks what is configured against what each rule can do. Raises RulesError."""
    active = [_activate(rule, _in_mode(file, rule), name) for rule in RULES if file.rules[rule.id].mode != "off"]
    kinds: tuple[CountedKind, ...] = ("account", "ip", "country", "system")
    by_kind = {kind: tuple(a for a in active if kind in a.rule.kinds) for kind in kinds}
    return RuleSet(file, home, by_kind)


def _in_mode(file: RulesFile, rule: Rule) -> RuleConfig:
    config = file.rules[rule.id]
    return msgspec.structs.replace(config, mode="shadow") if file.mode == "shadow" else config


def _activate(rule: Rule, config: RuleConfig, name: str) -> Active:
    limits = []
    for group, texts in config.limits.items():
        for text in texts:
            limit = parse_limit(text)
            if limit.metric not in rule.metrics:
                can = ", ".join(rule.metrics)
                raise RulesError(f"{name}: rules.{rule.id}.limits.{group}: {text!r}: the rule counts {can}")
            limits.append((group, limit))
    if config.accuse and rule.accuses is None:
        raise RulesError(f"{name}: rules.{rule.id}.accuse: the rule cannot tell which networks are to blame")
    if config.home is not None and "ip" not in rule.kinds:
        raise RulesError(f"{name}: rules.{rule.id}.home: the rule is not about networks")
    special = frozenset(group.encode() for group in config.limits if len(group) == 2)
    durations = (seconds(config.for_), seconds(config.cap), seconds(config.decay))
    return Active(rule, config, tuple(limits), *durations, special)
