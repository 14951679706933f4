"""The rules file: what is wrong is refused with file, key and why; what is given is laid over what is shipped."""

from pathlib import Path

import pytest

from pipeline.rules import build
from pipeline.rules.config import RulesError, default_text, load, parse_limit, seconds

SEND = "[rules.account_send_rate]\n"
LIMITS = "[rules.account_send_rate.limits]\n"
WRONG = {
    "limit = [": "no valid TOML",
    "ruls = 1": "unknown field `ruls`",
    "subjects = 10": "subjects: .*>= 1000",
    "rules = 1": "rules: must be a table",
    "[rules.account_send_rat]": "rules.account_send_rat: there is no such rule; there are .*account_send_rate, ",
    "[rules]\naccount_send_rate = 1": "rules.account_send_rate: must be a table",
    SEND + "actoin = 'reject'": "rules.account_send_rate: .*unknown field `actoin`",
    SEND + "action = 'shout'": "rules.account_send_rate.action: Invalid enum value 'shout'",
    SEND + "scope = 'receive'": "rules.account_send_rate.scope: Invalid enum value",
    SEND + "mode = 'on'": "rules.account_send_rate.mode: Invalid enum value 'on'",
    SEND + "for = 10": "rules.account_send_rate.for: Expected `str`, got `int`",
    SEND + "for = '10 minutes'": "rules.account_send_rate.for: '10 minutes' is no duration such as",
    SEND + "for = '0s'": "rules.account_send_rate.for: '0s' is no duration",
    SEND + "cap = '7w'": "rules.account_send_rate.cap: '7w' is no duration",
    SEND + "decay = ''": "rules.account_send_rate.decay: '' is no duration",
    SEND + "times = 0": "rules.account_send_rate.times: .*> 0",
    SEND + "share = 1.5": "rules.account_send_rate.share: .*<= 1",
    SEND + "accuse = 'yes'": "rules.account_send_rate.accuse: Expected `bool`, got `str`",
    SEND + "limits = []": "rules.account_send_rate.limits: Expected `object`, got `array`",
    SEND + "home = {action = 'notify'}": "rules.account_send_rate.home: the rule is not about networks",
    "[rules.ip_accused]\nhome = {for = '1h'}": "rules.ip_accused.home: .*unknown field `for`",
    "[rules.ip_send_rate]\naccuse = true": "rules.ip_send_rate.accuse: the rule cannot tell which networks",
    LIMITS + "all = '20 messages / 10m'": r"rules.account_send_rate.limits\[...\]: Expected `array`, got `str`",
    LIMITS + "cn = []": "rules.account_send_rate.limits.cn: is none of all, home, abroad or a country code",
    LIMITS + "all = ['20 messages']": "rules.account_send_rate.limits.all: '20 messages' is no limit such as",
    LIMITS + "all = ['20 messages/10m']": "limits.all: '20 messages/10m' is no limit",
    LIMITS + "all = ['-1 messages / 10m']": "limits.all: '-1 messages / 10m' is no limit",
    LIMITS + "all = ['0 messages / 10m']": "limits.all: .*the count must be at least 1",
    LIMITS + "all = ['1 messages / 59s']": "limits.all: .*a window is between 1m and 24h",
    LIMITS + "all = ['1 messages / 25h']": "limits.all: .*a window is between 1m and 24h",
    LIMITS + "all = ['1 messages / 63s']": "limits.all: .*in steps of 5 s",
    LIMITS + "all = ['1 messages / 635s']": "limits.all: .*in steps of 60 s",
    LIMITS + "all = ['1 messages / 65m']": "limits.all: .*in steps of 600 s",
    LIMITS + "all = ['1 errors / 10m']": "limits.all: '1 errors / 10m': the rule counts messages, webmail, recipients",
    LIMITS + "all = ['1 elephants / 10m']": "limits.all: '1 elephants / 10m': the rule counts",
    "[allow]\nadresses = []": "allow: .*unknown field `adresses`",
    "[allow]\naddresses = ['198.51.100.1/24']": "allow.addresses: 198.51.100.1/24 has host bits set",
    "[allow]\naddresses = ['office']": "allow.addresses: 'office' does not appear to be",
    "[allow]\ncountries = ['Japan']": "allow.countries: 'Japan' is no ISO 3166 code",
    "[allow]\ncountries = ['ZZ']": "allow.countries: 'ZZ' is no ISO 3166 code",
    "[allow]\naccounts = ['*@city.example.jp']": "allow.accounts: .*there are no patterns",
    "[allow]\naccounts = ['@city.example.jp']": "allow.accounts: .*nor whole domains",
    "[trusted]\nhosts = ['localhost']": "trusted.hosts: 'localhost' does not appear",
    "[trusted]\nwebmail = ['10.0.0.0/8']": "trusted.webmail: '10.0.0.0/8' does not appear",
}


def rules_file(folder: Path, text: str) -> Path:
    path = folder / "rules.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(("text", "why"), WRONG.items())
def test_what_is_wrong_is_refused_with_file_key_and_why(text: str, why: str, tmp_path: Path) -> None:
    path = rules_file(tmp_path, text)
    with pytest.raises(RulesError, match=why) as refused:
        build(load(path), "JP", str(path))
    assert str(refused.value).startswith(f"{path}: ")
    assert "$" not in str(refused.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RulesError, match=r"nothing.toml: cannot be read: "):
        load(tmp_path / "nothing.toml")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(RulesError, match=r"binary.toml: cannot be read: "):
        load(binary)


def test_given_keys_replace_shipped_ones_rule_by_rule_and_limits_class_by_class(tmp_path: Path) -> None:
    shipped = load(None)
    path = rules_file(
        tmp_path,
        f'subjects = 5000\n[allow]\naccounts = ["News@x.example"]\n{SEND}for = "2h"\n'
        f'{LIMITS}abroad = ["5 messages / 10m"]\nCN = ["1 messages / 1h"]\n',
    )
    file = load(path)
    rule, before = file.rules["account_send_rate"], shipped.rules["account_send_rate"]
    assert (rule.for_, rule.action, rule.accuse) == ("2h", before.action, before.accuse)
    assert rule.limits == {**before.limits, "abroad": ["5 messages / 10m"], "CN": ["1 messages / 1h"]}
    assert {k: v for k, v in file.rules.items() if k != "account_send_rate"} == {
        k: v for k, v in shipped.rules.items() if k != "account_send_rate"
    }
    assert (file.subjects, file.allow.accounts, file.trusted) == (5000, ["News@x.example"], shipped.trusted)


def test_an_empty_list_of_limits_switches_a_class_off(tmp_path: Path) -> None:
    rules = build(load(rules_file(tmp_path, LIMITS + "all = []\nhome = []\nabroad = []")), "JP")
    active = next(a for a in rules.by_kind["account"] if a.rule.id == "account_send_rate")
    assert active.limits == ()


def test_a_rule_that_is_off_is_not_asked(tmp_path: Path) -> None:
    rules = build(load(rules_file(tmp_path, SEND + "mode = 'off'")), "JP")
    assert "account_send_rate" not in {a.rule.id for a in rules.by_kind["account"]}


def test_limits_of_a_country_replace_those_of_its_class(tmp_path: Path) -> None:
    rules = build(load(rules_file(tmp_path, LIMITS + "CN = ['1 messages / 1h']")), "JP")
    active = next(a for a in rules.by_kind["account"] if a.rule.id == "account_send_rate")
    seen = frozenset((b"JP", b"CN", b"BR", b"\0\0"))
    assert active.choose("abroad", seen, b"JP") == {b"BR"}
    assert active.choose("home", seen, b"JP") == {b"JP", b"\0\0"}
    assert active.choose("CN", seen, b"JP") == {b"CN"}


def test_the_shipped_file_is_right_and_has_no_limit_twice() -> None:
    rules = build(load(None), "JP")
    assert "[rules.account_send_rate]" in default_text()
    for active in {a.rule.id: a for of in rules.by_kind.values() for a in of}.values():
        assert len(set(active.limits)) == len(active.limits)
        assert active.duration <= active.cap


def test_rules_that_differ_have_other_fingerprints(tmp_path: Path) -> None:
    plain = build(load(None), "JP")
    assert plain.fingerprint == build(load(None), "JP").fingerprint
    assert plain.fingerprint != build(load(None), "DE").fingerprint
    assert plain.fingerprint != build(load(rules_file(tmp_path, SEND + "for = '2h'")), "JP").fingerprint


@pytest.mark.parametrize(("text", "length"), [("90s", 90), ("30m", 1800), ("6h", 21600), ("7d", 604800)])
def test_durations(text: str, length: int) -> None:
    assert seconds(text) == length


def test_a_limit() -> None:
    limit = parse_limit("20 messages / 10m")
    assert (limit.count, limit.metric, limit.window) == (20, "messages", 600)
