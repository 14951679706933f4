"""Which bounces say that there is no such recipient.

The code tells it (RFC 3463, 3.2: X.1), where the server that refuses writes one. Many write none, and the MTA then logs
5.0.0 or nothing, or write one that says less. So the text is read as well; and it is read for what a dead recipient is
not, since the same codes are given for a full mailbox, a refusal by policy, a list of bad addresses, or a rate.

The text is what another server wrote. Whom this can hurt: an account whose recipients' server calls them unknown, as
its codes always could; nobody else counts for it. What an attacker can do with it: his own server may call his
recipients full, and hide them; those that he invents at other people's servers he cannot. Names, which others chose,
are taken out before the text is read.
"""

import re
from functools import lru_cache

_ADDRESS = "5.1."
"""RFC 3463, 3.2, addressing status, but for those that speak of the sender (5.1.7, 5.1.8)."""
_NEVER = frozenset(("5.1.7", "5.1.8", "5.2.2", "5.2.3", "5.3.4"))
"""Bad sender; mailbox full; message too long for the mailbox, for the system."""

_WHO = (
    r"(?:user(?:name|id)?|recipient|mail ?box|inbox|account|address|addressee|alias|local[ -]?part|person|customer|"
    r"subscriber|member)s?"
)
_GAP = r"(?:[^\w]+[\w'&/]+){0,6}?[^\w]+"  # up to six words: "account that you tried to reach does not exist"
_GONE = r"(?:disabled|inactive|deactivated|discontinued|closed|deleted|removed|terminated|expired)"
DEAD: tuple[tuple[str, str], ...] = (
    # Postfix (local(8), virtual(8), smtpd(8)), Sendmail, Exim, Cyrus, Dovecot, docomo, Communigate
    (rf"{_WHO}{_GAP}(?:is |are |was )?(?:un|not )known\b", "user unknown in virtual mailbox table"),
    (rf"(?:unknown|invalid|illegal|no such|non-?exist[ae]nt) (?:or \w+ )?(?:\w+ )?{_WHO}\b", "no such user here"),
    # Exchange, Gmail, iCloud, Yahoo, AOL, QQ, Dovecot, WorkMail
    (rf"{_WHO}{_GAP}(?:could |can)?(?:not|n't|was not) (?:be )?found\b", "mailbox not found"),
    (rf"{_WHO}{_GAP}(?:(?:does|do|did)(?: not|n't|nt)|not) exist", "account that you tried to reach does not exist"),
    (rf"{_WHO}{_GAP}(?:is |are )?(?:not (?:valid|recogni[sz]ed|listed)|invalid|non-?exist[ae]nt)\b", "user not valid"),
    (r"resolver\.adr\.recip(?:ient)?notfound", "resolver.adr.recipnotfound; not found"),
    (r"5\.4\.1 .*\brecipient address rejected: access denied", "5.4.1 recipient address rejected: access denied"),
    (rf"not (?:an? )?(?:our|known|valid|registered|existing) {_WHO}\b", "not our customer"),
    (rf"(?:does not|doesn't|doesnt) have (?:an?|any) (?:\S+ )?{_WHO}\b", "doesn't have a yahoo.com account"),
    # RFC 5321, 4.2.3, on 550; Outlook.com, GMX, MailEnable
    (r"mailbox (?:is )?unavailable\b", "requested action not taken: mailbox unavailable"),
    (r"bad destination (?:mailbox|e-?mail|system)? ?address", "bad destination mailbox address"),  # RFC 3463, 3.2
    # qmail, vpopmail
    (rf"no {_WHO} (?:here |found )?(?:by|with|of|under|named|here|found|exists?)\b", "no mailbox here by that name"),
    (r"(?:nobody|no one)(?: here)? (?:by|with) that name", "nobody here by that name"),
    # Exim; Postfix, verify(8)
    (r"un(?:routeable|routable|deliverable) address\b", "unrouteable address"),
    # Gmail, Yahoo, mail.ru, Free: what was given up is no address of anybody either
    (
        rf"{_WHO}{_GAP}(?:is|are|was|has been|have been|been) (?:\w+ or )?(?:{_GONE}|blocked \w+ (?:to )?inactivity)\b",
        "the account is disabled",
    ),
    (rf"(?:{_GONE}|dead) {_WHO}\b", "inactive user"),
    (rf"(?:mail ?box|account|user) {_GONE}\b", "mailbox disabled"),
    (rf"{_WHO}{_GAP}no longer (?!accept)\w+", "user is no longer here"),
    # Orange, Free, mail servers of German and Spanish providers
    (
        r"(?:utilisateur|destinataire|adresse) (?:inconnue?|invalide|inexistante?)\b|"
        r"empf(?:ae|\u00e4)nger (?:ist )?unbekannt\b|(?:usuario|destinatario) (?:desconocido|no existe)\b",
        "destinataire inconnu",
    ),
)
"""What says that a recipient does not exist: patterns that begin where a word begins, in lower case, and an example;
above them, which servers write so."""

NOT_DEAD: tuple[tuple[str, str], ...] = (
    (
        r"(?:over ?)?quota\b|full\b|storage\b|space\b|exceed|insufficient\b|size\b|"
        r"too (?:large|big|long|many|much|fast|often)\b",
        "mailbox is full",
    ),
    (r"rates?\b|limit|throttl|frequen", "receiving mail at a rate that"),
    (r"gr[ae]y-?list|try (?:again|later)\b|later\b|temporar|defer", "greylisted, try again later"),
    (r"(?:anti)?-?spam|unsolicited\b|junk\b|bulk\b|phish|virus|malware|infected\b|contents?\b", "looks like spam"),
    (
        r"polic(?:y|ies)\b|prohibit|(?:block|black|deny|denied)-?list|(?:rbl|dnsbl)\b|reputation|banned\b|"
        r"block(?:ed|ing|s)?\b(?! (?:due to|because of|for) inactiv)|not (?:allowed|permitted|authori[sz]ed)\b",
        "blocked by policy",
    ),
    (
        r"relay(?:ing)?[ :,]+(?:access |is |was )?(?:denied|not|prohibited|rejected|refused|mail)|relaying\b|"
        r"(?:to|not|cannot|can't|won't) relay\b|rcpthosts|open relay",
        "relay access denied",
    ),
    (
        r"sender(?:'s)? (?:address|domain|verif|host|ip|not|is|was|unknown|rejected|denied|refused|does)|"
        r"(?:unknown|invalid|bad|of|for|unverified|no such|envelope) sender\b|mail from\b|return[ -]path\b|"
        r"from address\b|[eh][eh]lo\b|reverse\b|ptr\b|spf\b|dkim\b|dmarc\b|(?:un)?authenticat|"
        r"your (?:mail )?(?:ip|host|hostname|server|domain|account|network|system|client|isp)\b",
        "sender address rejected: domain not found",
    ),
)
"""What speaks of something else: room, rate, delay, content, policy, relaying, or the sender. As ``DEAD``."""


def _any_of(table: tuple[tuple[str, str], ...]) -> re.Pattern[str]:
    """One pattern, which is tried where words begin and nowhere else."""
    return re.compile(rf"\b(?=\w)(?:{'|'.join(pattern for pattern, _ in table)})", re.DOTALL)


_DEAD, _NOT_DEAD = _any_of(DEAD), _any_of(NOT_DEAD)
_CODE = re.compile(r"\b[245]\.[0-9]{1,3}\.[0-9]{1,3}\b")
_NAMES = re.compile(r"\bhost [^\s\[\]]*\[[^\s\[\]]*\](?::[0-9]+)? (?=said: )|<[^<>]*>|(?<!\S)[^\s@]+@\S*|https?:\S*")


def is_dead_recipient(dsn: str | None, reason: str | None) -> bool:
    """Of a delivery that failed for good: ``Event.dsn`` and ``Event.reason``."""
    text = (reason or "").lower()
    if dsn is None:
        found = _CODE.search(text)
        dsn = found[0] if found else ""
    if dsn == "5.1.1" and "user unknown" in text:
        return True  # as nearly all of them are
    if dsn in _NEVER or dsn.startswith(("2.", "4.")):
        return False
    # qmail writes its texts with underscores
    return _says_dead(dsn.startswith(_ADDRESS), _NAMES.sub(" ", text.replace("_", " ")))


@lru_cache(maxsize=4096)  # but for names, servers have few texts
def _says_dead(by_code: bool, text: str) -> bool:
    """A code of an address holds unless the text speaks only of something else; where there is none, the text has to
    speak of an address, and of nothing else."""
    not_dead = _NOT_DEAD.search(text) is not None
    if by_code and not not_dead:
        return True
    return (by_code or not not_dead) and _DEAD.search(text) is not None
