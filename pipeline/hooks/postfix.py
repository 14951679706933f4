"""Postfix policy delegation (http://www.postfix.org/SMTPD_POLICY_README.html, actions: access(5)).

A request is ``name=value`` lines, ended by an empty line; the answer is one ``action=`` line and an empty line. The
answer is never OK: in relay restrictions it would open the relay to clients that did not log in.
"""

from typing import Final, NamedTuple

from pipeline.enforce.limiter import Limiter
from pipeline.enforce.table import CountryOf, DecisionTable, Verdict, no_country
from pipeline.enforce.terms import Held
from pipeline.enforce.wording import plain

MAX_REQUEST: Final = 65_536
END: Final = b"\n\n"

_ENVELOPE_STATES: Final = frozenset({b"RCPT", b"DATA", b"END-OF-MESSAGE"})
_SENDER_STATES: Final = _ENVELOPE_STATES | {b"MAIL"}
_WEBMAIL: Final = b"webmail"


class UnreadableRequest(ValueError):
    """No policy request. The protocol wants no answer then, but that the connection is closed."""


class PolicyRequest(NamedTuple):
    """What we need of a request. ``account`` is in lower case and empty if nobody has logged in."""

    state: bytes
    account: str
    sender: str
    address: str
    recipient: str
    recipients: int
    instance: str
    webmail: bool


class Answer(NamedTuple):
    """``action`` as Postfix wants it, and in one word for the metrics."""

    action: str
    outcome: str

    def encode(self) -> bytes:
        """The bytes to send."""
        return f"action={self.action}\n\n".encode("ascii")


DUNNO: Final = Answer("DUNNO", "dunno")


def parse(request: bytes) -> PolicyRequest:
    """One request, without the empty line that ends it. Raises UnreadableRequest."""
    try:
        # A value may hold "=", a name may not. The last one wins where a name comes twice; Postfix sends none twice.
        given = dict([line.split(b"=", 1) for line in request.split(b"\n")])
    except ValueError:
        raise UnreadableRequest("a line holds no '='") from None
    if given.get(b"request") != b"smtpd_access_policy":
        raise UnreadableRequest("request=smtpd_access_policy is wanted")
    count = given.get(b"recipient_count", b"") or b"0"
    if not (count.isdigit() and len(count) < 10):
        raise UnreadableRequest("recipient_count is no number")
    return PolicyRequest(
        state=given.get(b"protocol_state", b""),
        account=_text(given.get(b"sasl_username", b"")).lower(),
        sender=_text(given.get(b"sender", b"")).lower(),
        address=_text(given.get(b"client_address", b"")),
        recipient=_text(given.get(b"recipient", b"")),
        recipients=int(count),
        instance=_text(given.get(b"instance", b"")),
        webmail=given.get(b"policy_context") == _WEBMAIL,
    )


def answer(
    request: PolicyRequest,
    table: DecisionTable,
    limiter: Limiter,
    now: float,
    *,
    country_of: CountryOf = no_country,
    disconnect: bool = False,
) -> Answer:
    """What Postfix must be told at ``now`` (seconds since 1970 UTC).

    Only authenticated clients are judged; of a webmail host that does not log in (``policy_context=webmail``, or a
    client on the mail server itself) also the envelope sender, by the account alone. ``disconnect``: a refusal also
    ends the session.
    """
    verdict = _verdict(request, table, now, country_of)
    if verdict is None:
        return DUNNO
    if verdict.shadow:
        held = verdict.held[0]
        return Answer(f"INFO shadow {held.terms.action} {held.terms.rule}: {plain(held.text)}", "shadow")
    for held in verdict.held:
        told = _told(held, request, limiter, now, disconnect)
        if told is not None:
            return told
    return DUNNO


def _verdict(request: PolicyRequest, table: DecisionTable, now: float, country_of: CountryOf) -> Verdict | None:
    protocol = "webmail" if request.webmail else "smtp"
    if request.account:
        return table.lookup(
            "send",
            now,
            account=request.account,
            address=request.address,
            protocol=protocol,
            country_of=country_of,
        )
    if request.sender and (request.webmail or request.address.startswith("127.") or request.address == "::1"):
        return table.lookup("send", now, account=request.sender, protocol="webmail")
    return None


def _told(held: Held, request: PolicyRequest, limiter: Limiter, now: float, disconnect: bool) -> Answer | None:
    """None: this decision lets the request pass, and a weaker one may have something to say."""
    match held.terms.action:
        case "reject" | "deny_login":
            return _refusal(plain(held.text), "reject", disconnect)
        case "defer":
            return Answer(f"DEFER_IF_PERMIT 4.7.1 {plain(held.text)}", "defer")
        case "hold":
            return Answer(f"HOLD {plain(held.text)}", "hold")
        case "route":
            return Answer(f"FILTER {held.terms.pool}:", "route")
        case "require_from_match":
            return _own_sender(held, request, disconnect)
        case "limit":
            if request.state not in _ENVELOPE_STATES:
                return None
            if limiter.admit(held, request.instance, request.recipient, request.recipients, now):
                return None
            return Answer(f"DEFER_IF_PERMIT 4.7.1 {plain(held.text)}", "limit")
        case _:
            return None


def _own_sender(held: Held, request: PolicyRequest, disconnect: bool) -> Answer | None:
    """The sender must belong to the account. Which others do is known to Postfix (smtpd_sender_login_maps)."""
    if request.state not in _SENDER_STATES:
        return None
    if not request.sender:  # passes every mismatch check of Postfix
        return _refusal(f"an empty sender is not allowed: {plain(held.text)}", "mismatch", disconnect)
    if not request.account or request.account == request.sender:
        return None
    return Answer("reject_authenticated_sender_login_mismatch", "mismatch")


def _refusal(text: str, outcome: str, disconnect: bool) -> Answer:
    # Postfix closes the connection after 521, see access(5).
    return Answer(f"521 5.7.1 {text}" if disconnect else f"REJECT 5.7.1 {text}", outcome)


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
