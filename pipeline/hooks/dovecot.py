"""Dovecot auth policy (https://doc.dovecot.org/latest/core/config/auth/policy.html), as weakforced answers it.

``allow`` is asked before and after a login, ``report`` tells how it went. The answer is ``{"status": n, "msg": text}``:
below 0 refuses, 0 goes on, above 0 waits so many seconds.
"""

from typing import Any, Final, NamedTuple

import msgspec

from pipeline.enforce.table import CountryOf, DecisionTable, no_country
from pipeline.enforce.wording import plain

_PROTOCOLS: Final = {"submission": "smtp", "sieve": "managesieve"}  # Dovecot's service names -> ours


class UnreadableRequest(ValueError):
    """No such request: answer with an HTTP error, on which Dovecot goes on."""


class AuthRequest(msgspec.Struct, frozen=True):
    """Body of ``allow`` and ``report``: Dovecot's default attributes. Only ``login`` must be there.

    ``pwhash`` is 12 bits of a hash of user and password: equal for a repeated wrong password. ``session_id`` is empty
    for SASL of Postfix.
    """

    login: str
    remote: str = ""
    protocol: str = ""
    session_id: str = ""
    device_id: str = ""
    pwhash: str = ""
    fail_type: str = ""
    success: bool = False
    policy_reject: bool = False
    tls: bool = False


class Reply(NamedTuple):
    """``outcome`` is for the metrics. ``challenge``: a webmail asks for its second factor before it goes on."""

    status: int
    msg: str
    outcome: str
    challenge: bool = False

    def encode(self) -> bytes:
        """JSON. ``r_attrs`` are weakforced's attributes of an answer; Dovecot passes over them."""
        body: dict[str, Any] = {"status": self.status, "msg": self.msg}
        if self.challenge:
            body["r_attrs"] = {"challenge": "1"}
        return msgspec.json.encode(body)


GO_ON: Final = Reply(0, "", "pass")
REPORTED: Final = Reply(0, "", "reported")

_DECODER = msgspec.json.Decoder(AuthRequest)


def parse(body: bytes) -> AuthRequest:
    """Raises UnreadableRequest."""
    try:
        return _DECODER.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRequest(str(error)) from None


def allow(request: AuthRequest, table: DecisionTable, now: float, country_of: CountryOf = no_country) -> Reply:
    """Whether the login may go on at ``now`` (seconds since 1970 UTC)."""
    protocol = request.protocol.lower()
    verdict = table.lookup(
        "login",
        now,
        account=request.login.lower(),
        address=request.remote,
        protocol=_PROTOCOLS.get(protocol, protocol),
        country_of=country_of,
    )
    if verdict is None:
        return GO_ON
    held = verdict.held[0]
    if verdict.shadow:
        return Reply(0, "", "shadow")
    match held.terms.action:
        case "delay_login":
            return Reply(held.terms.seconds, plain(held.text), "delay")
        case "challenge" if protocol == "webmail":
            return Reply(0, plain(held.text), "challenge", challenge=True)
        case "challenge":
            return GO_ON
        case _:
            return Reply(-1, plain(held.text), "deny")
