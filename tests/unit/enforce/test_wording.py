from hypothesis import given
from hypothesis import strategies as st

from pipeline.enforce.terms import restriction_of
from pipeline.enforce.wording import MAX_REASON, plain, refusal
from tests.support.decisions import decision


def test_a_refusal_is_the_reason_and_the_begin_of_the_id() -> None:
    assert refusal("too much", "0123456789abcdef") == "too much [01234567]"


@given(st.text(), st.text(min_size=1))
def test_whatever_is_decided_the_client_gets_one_line_of_printable_ascii(reason: str, id_: str) -> None:
    text = restriction_of(decision("alice@example.org", reason=reason, id=id_)).text
    assert all(" " <= c <= "~" for c in text)
    assert len(text) == min(len(reason), MAX_REASON) + len(" []") + min(len(id_), 8)


def test_the_longest_text_fits_into_a_reply_beside_what_the_mail_server_says() -> None:
    longest = restriction_of(decision("alice@example.org", reason="x" * 5000, id="y" * 99)).text
    assert len(longest) == 161
    recipient = "r" * 254
    assert len(f"521 5.7.1 <{recipient}>: Recipient address rejected: {longest}\r\n") <= 512


def test_what_is_not_plain_becomes_a_question_mark() -> None:
    assert plain("a\r\nb\x00\x7f\N{NO-BREAK SPACE}é\udc80") == "a??b?????"
    assert plain("as it is ~") == "as it is ~"
