"""Who can be restricted or allowed: names that somebody can have."""

from pipeline.networks import Subject, parse_subject
from schemas.kinds import COUNTRIES, SubjectKind


def named_subject(text: str, kind: SubjectKind | None = None) -> Subject:
    """As ``parse_subject``, for what is to be restricted or allowed: somebody or something that there can be.

    Raises ValueError also for patterns, which are no names and would never match, and for codes of no country.
    """
    kind, name = parse_subject(text, kind)
    account = name.rpartition("|")[0] if kind == "account_ip" else name if kind == "account" else None
    if account is not None:
        check_account(account)
    if kind == "country":
        check_country(name)
    return kind, name


def check_account(name: str) -> None:
    """Raises ValueError if it is a pattern or a domain, and so no account."""
    local, at, domain = name.rpartition("@")
    if "*" in name or (at and not (local and domain)):
        raise ValueError(
            f"{name[:64]!r} is no account; there are no patterns, nor whole domains: name each account, or where"
            " the trouble comes from (an address, a prefix, a country)"
        )


def check_country(code: str) -> None:
    """Raises ValueError if no country has that ISO 3166 code."""
    if code not in COUNTRIES:
        raise ValueError(f"{code[:64]!r} is no ISO 3166 code such as JP")
