"""Closed lists: the only values that the fields of our messages may hold."""

import re
from typing import Final, Literal, get_args

EventKind = Literal["auth_failure", "auth_success", "submission", "delivery", "connect", "reject", "other"]

# Why a login failed. Only the first two are password errors; the others must never count as guessing.
AuthReason = Literal["password", "unknown_user", "disabled", "policy", "mechanism", "temporary", "aborted", "unknown"]
PASSWORD_ERRORS: frozenset[str] = frozenset({"password", "unknown_user", "unknown"})

SubjectKind = Literal["account", "ip", "prefix", "country", "account_ip", "system"]
SUBJECT_KINDS: tuple[SubjectKind, ...] = get_args(SubjectKind)

Action = Literal[
    "reject",
    "defer",
    "limit",
    "hold",
    "route",
    "require_from_match",
    "deny_login",
    "delay_login",
    "challenge",
    "notify",
]
ACTIONS: tuple[Action, ...] = get_args(Action)

Scope = Literal["send", "login", "both"]
SCOPES: tuple[Scope, ...] = get_args(Scope)

Mode = Literal["enforce", "shadow"]

POOL_NAME: Final = re.compile(r"[a-z0-9_-]{1,64}")
"""A pool of sending addresses (action ``route``)."""

_ISO_3166 = (
    "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY "
    "BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK "
    "FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR "
    "IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK "
    "ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM "
    "PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF "
    "TG TH TJ TK TL TM TN TO TR TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS XK YE YT ZA ZM ZW "
)
COUNTRIES: Final[frozenset[str]] = frozenset(_ISO_3166.split())
"""Codes of ISO 3166-1, and XK, which GeoIP files have for Kosovo."""
