"""Bounces: is the recipient dead, or was it something else? Texts as the servers write them."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.normalize.dead_recipients import DEAD, NOT_DEAD, is_dead_recipient

REPLY = " (in reply to RCPT TO command)"
DEAD_TEXTS = (
    # Postfix, of its own and as another host
    ("5.1.1", 'unknown user: "bob"'),
    ("5.1.1", "User unknown in virtual alias table"),
    ("5.0.0", "host mx.y.example[192.0.2.1] said: 550 <b@y.example>: Recipient address rejected: User unknown in relay "
     "recipient table"),
    ("5.0.0", "host mx.y.example[192.0.2.1] said: 550 <b@y.example>: undeliverable address"),
    ("5.0.0", "host mail.example.net[192.0.2.99] said: 550 No such user here (in reply to RCPT TO command)"),
    ("5.0.0", "host mail.example.net[2001:db8::99]:25 said: 550 No Such User Here (in reply to RCPT TO command)"),
    # Sendmail, Exim, qmail
    ("5.1.1", "User unknown"),
    (None, "550 5.1.1 <b@y.example>... User unknown"),
    ("5.1.2", "Host unknown (Name server: y.example: host not found)"),
    (None, "Unknown user"),
    (None, "Unrouteable address"),
    (None, "SMTP error from remote mail server after RCPT TO:<b@y.example>: 550 No such recipient here"),
    (None, "192.0.2.9_does_not_like_recipient./Remote_host_said:_550_User_unknown/Giving_up_on_192.0.2.9./"),
    (None, "Sorry,_no_mailbox_here_by_that_name._(#5.1.1)/"),
    ("5.0.0", "host y.example[192.0.2.1] said: 550 sorry, no mailbox here by that name (chkuser)"),
    # Gmail, Outlook and Exchange, Yahoo, AOL, iCloud, mail.ru, Yandex, QQ, GMX, Free, Orange, docomo
    ("5.1.1", "host gmail-smtp-in.l.google.com[192.0.2.1] said: 550-5.1.1 The email account that you tried to reach "
     "does not exist. Please try 550-5.1.1 double-checking the recipient's email address for typos"),
    ("5.2.1", "550-5.2.1 The email account that you tried to reach is disabled. Learn more at https://support.google.com"),
    ("5.2.1", "550 5.2.1 The email account that you tried to reach is inactive."),
    ("5.5.0", "host x.olc.example[192.0.2.1] said: 550 5.5.0 Requested action not taken: mailbox unavailable"),
    ("5.1.10", "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient b@y.example not found by SMTP address lookup"),
    ("5.4.1", "550 5.4.1 [b@y.example]: Recipient address rejected: Access denied. AS(201806281)"),
    ("5.0.0", "554 delivery error: dd This user doesn't have a yahoo.com account (b@yahoo.com) [-5]"),
    ("5.0.0", "554 delivery error: dd Sorry your message to b@yahoo.com cannot be delivered. This account has been "
     "disabled or discontinued [#102]."),
    ("5.0.0", "554 delivery error: dd Requested mail action aborted, mailbox not found"),
    ("5.0.0", "550 MAILBOX NOT FOUND"),
    ("5.0.0", "550 unknown or illegal alias: b@y.example"),
    ("5.0.0", "550 Message was not accepted -- invalid mailbox. Local mailbox b@mail.ru is unavailable"),
    ("5.7.1", "550 5.7.1 No such user!"),
    ("5.0.0", "550 Requested action not taken: mailbox unavailable"),
    ("5.2.1", "550 5.2.1 This mailbox has been blocked due to inactivity"),
    ("5.0.0", "550 Adresse d au moins un destinataire invalide. Invalid recipient. OFR_416"),
    ("5.0.0", "550 Unknown user b@docomo.ne.jp"),
    # Cyrus, Dovecot, Courier, Domino, Communigate, MDaemon, Mimecast, Comcast, others
    ("5.0.0", "550-Mailbox unknown. Either there is no mailbox associated with this name or you do not have authoriz"),
    ("5.0.0", "550 <b@y.example> User doesn't exist: b@y.example"),
    ("5.0.0", "550 User <b@y.example> unknown"),
    ("5.0.0", "554 b@y.example... User not listed in public Name & Address Book"),
    ("5.0.0", "550 b@y.example unknown user account"),
    ("5.0.0", "550 <b@y.example>, Recipient unknown"),
    ("5.0.0", "550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550"),
    ("5.0.0", "550 Not our Customer"),
    ("5.0.0", "550 Address unknown"),
    ("5.0.0", "550 account disabled: does not exist"),
    ("5.0.0", "550 the user is no longer here"),
    ("5.0.0", "550 unknown local-part b in domain y.example"),
    ("5.1.1", ""),
    ("5.1.1", None),
    ("5.1.0", "550 5.1.0 Address rejected."),
    ("5.1.10", "Recipient address has a null MX"),
    # names that others chose say nothing
    ("5.0.0", "host spam-policy.example[192.0.2.99] said: 550 <quota-full@y.example>: no such user"),
    ("5.0.0", "host a[192.0.2.9] said: 550 No such user here; see https://y.example/policy/blocked"),
)  # fmt: skip
OTHER_TEXTS = (
    ("5.2.2", "550 5.2.2 user is over quota"),
    ("5.2.2", "550 5.2.2 no such user"),
    ("5.1.1", "550 5.1.1 mailbox is full"),
    ("5.0.0", "552 Requested mail action aborted: exceeded storage allocation, mailbox not found"),
    ("5.0.0", "550 b@y.example account is full (quota exceeded)"),
    ("5.0.0", "552 Mailbox full, invalid recipient"),
    ("5.2.1", "550-5.2.1 The user you are trying to contact is receiving mail at a rate that prevents more"),
    ("5.7.1", "550 5.7.1 Our system has detected that this message is likely unsolicited mail. The user is not known"),
    ("5.7.1", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org"),
    ("5.0.0", "550 blocked by policy: user unknown to us"),
    ("5.0.0", "550 your IP is on a blacklist, no such user"),
    ("5.0.0", "550 Greylisted, unknown user, try again later"),
    ("5.0.0", "550 too many recipients, mailbox unavailable"),
    ("5.7.1", "554 5.7.1 <b@y.example>: Relay access denied"),
    ("5.0.0", "550 relaying denied, no such recipient"),
    ("5.0.0", "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"),
    ("5.1.8", "553 5.1.8 Domain of sender address a@x.example does not exist"),
    ("5.0.0", "553 Domain of sender address a@x.example does not exist"),
    ("5.0.0", "450 Sender address rejected: Domain not found"),
    ("5.0.0", "550 Sender verify failed: no such user"),
    ("5.0.0", "550 Helo command rejected: Host not found"),
    ("5.1.0", "550 5.1.0 a@x.example sender rejected"),
    ("5.1.0", "554 5.1.0 Message refused: looks like spam"),
    ("5.7.1", "550 5.7.1 <x@dest.example>: Recipient address rejected: account suspended (abuse)"),
    ("5.7.1", "554 5.7.1 <b@y.example>: Recipient address rejected: Access denied"),
    ("5.4.6", "mail for y.example loops back to myself"),
    ("5.4.4", "Host or domain name not found. Name service error for name=y.example type=MX: Host not found"),
    ("5.3.4", "552 5.3.4 message size exceeds limit, invalid recipient"),
    ("5.3.0", 'Command died with status 1: "/usr/bin/filter"'),
    ("5.0.0", "550 Administrative prohibition"),
    ("5.0.0", "550 Unauthenticated mail from x.example is not accepted, invalid user"),
    ("5.0.0", ""),
    (None, None),
    (None, "450 4.1.1 user unknown"),
    ("4.1.1", "user unknown"),
    ("5.0.0", "host no-such-user.example[192.0.2.99] said: 550 go away"),
    ("5.0.0", "host a[192.0.2.9] said: 550 <user-unknown@y.example>: go away; see https://y.example/no such user no@x"),
)  # fmt: skip


@pytest.mark.parametrize(("dsn", "reason"), DEAD_TEXTS)
def test_dead(dsn: str | None, reason: str | None) -> None:
    assert is_dead_recipient(dsn, reason)
    assert is_dead_recipient(dsn, f"{reason or ''}{REPLY}")


@pytest.mark.parametrize(("dsn", "reason"), OTHER_TEXTS)
def test_something_else(dsn: str | None, reason: str | None) -> None:
    assert not is_dead_recipient(dsn, reason)
    assert not is_dead_recipient(dsn, f"{reason or ''}{REPLY}")


@pytest.mark.parametrize("table", [DEAD, NOT_DEAD])
def test_every_row_finds_its_own_example(table: tuple[tuple[str, str], ...]) -> None:
    for pattern, words in table:
        assert re.search(rf"\b(?=\w)(?:{pattern})", words), pattern


@given(
    code=st.sampled_from(("5.1.1", "5.0.0", "5.2.2", "5.7.1", "4.1.1", None)), dead=st.booleans(), other=st.booleans()
)
@example("5.1.1", True, True)
def test_code_and_text_together(code: str | None, dead: bool, other: bool) -> None:
    """The obvious rule: a code of an address holds unless the text speaks only of something else; any other code needs
    a text that speaks of the address, and of nothing else."""
    reason = " ".join(("550", *(("no such user",) if dead else ()), *(("mailbox is full",) if other else ())))
    wanted = code not in ("5.2.2", "4.1.1") and ((dead or not other) if code == "5.1.1" else dead and not other)
    assert is_dead_recipient(code, reason) == wanted


@given(
    st.lists(
        st.sampled_from(("no such ", "user ", "account that ", "<", ">", "@", "host x[", "not ", "\\", "é "))
        | st.text(max_size=4)
    )
)
@settings(max_examples=50, deadline=None)
def test_any_text_is_read(parts: list[str]) -> None:
    assert is_dead_recipient("5.1.1", "".join(parts)) in (True, False)


@pytest.mark.parametrize("filling", ["user ", "user a ", "<", "@", "host x[", "no longer ", "a", "no such x ", "\\ "])
def test_a_text_of_the_longest_is_read_in_no_time(filling: str) -> None:
    def cost(length: int) -> float:
        text = (filling * length)[:length]
        start = time.process_time()
        for _ in range(20):
            is_dead_recipient("5.0.0", text)
        return time.process_time() - start

    assert any(cost(3_200) < 70 * cost(200) + 0.05 for _ in range(3))
