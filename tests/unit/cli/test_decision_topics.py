import pytest

from pipeline.cli.decision_topics import Subject, concerns, names


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        (("account", "Alice@Example.org"), ("account", "alice@example.org")),
        (("country", "br"), ("country", "BR")),
        (("ip", "2001:DB8::1"), ("ip", "2001:db8::1")),
        (("account_ip", "Alice@Example.org|2001:DB8::1"), ("account_ip", "alice@example.org|2001:db8::1")),
    ],
)
def test_a_subject_is_found_however_others_have_written_it(written: Subject, wanted: Subject) -> None:
    assert names(written, wanted)
    assert concerns(written, wanted)
    assert not names(written, ("account", "bob@example.org"))
    assert not concerns(written, ("account", "bob@example.org"))
