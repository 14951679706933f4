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
