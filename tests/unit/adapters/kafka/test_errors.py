"""What the client library raises is told for what it is, with what to do."""

import pytest
from kafka import errors

from pipeline.adapters.kafka.errors import translate, translated
from pipeline.ports import AccessRefused, BrokerUnavailable, MessageRefused, TopicMissing

AT = "kafka.example:9093"


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (errors.SaslAuthenticationFailedError("x"), AccessRefused, "does not accept the user or the password"),
        (errors.UnsupportedSaslMechanismError("x"), AccessRefused, "does not offer this SASL mechanism"),
        (errors.TopicAuthorizationFailedError("maillog"), AccessRefused, "an ACL is missing"),
        (errors.GroupAuthorizationFailedError("x"), AccessRefused, "an ACL is missing"),
        (errors.ClusterAuthorizationFailedError("x"), AccessRefused, "an ACL is missing"),
        (
            errors.KafkaError("Unexpected error in InitProducerId: [Error 31] ClusterAuthorizationFailedError"),
            AccessRefused,
            "an ACL is missing",
        ),
        (errors.UnsupportedCodecError("zstd"), BrokerUnavailable, "a compression that cannot be read here"),
        (errors.CorruptRecordError("x"), BrokerUnavailable, "a message that is damaged"),
        (errors.UnsupportedVersionError("x"), BrokerUnavailable, "is of a version that lacks"),
        (errors.NotEnoughReplicasError("x"), BrokerUnavailable, "fewer replicas in sync"),
        (errors.KafkaStorageError("x"), BrokerUnavailable, "cannot write to its disk"),
        (errors.PolicyViolationError("x"), BrokerUnavailable, "refuses it by its own rules"),
        (errors.ThrottlingQuotaExceededError("x"), BrokerUnavailable, "a quota"),
        (errors.LeaderNotAvailableError("x"), BrokerUnavailable, "see which brokers are down"),
        (errors.InvalidTopicError("x"), BrokerUnavailable, "refuses the name of a topic"),
        (errors.OffsetOutOfRangeError("x"), BrokerUnavailable, "no longer has the messages"),
        (errors.FencedInstanceIdError("x"), BrokerUnavailable, "FencedInstanceIdError"),
        (errors.KafkaConfigurationError("no such mechanism"), BrokerUnavailable, "no such mechanism"),
        (errors.KafkaConnectionError("x"), BrokerUnavailable, "does not answer"),
        (
            errors.KafkaConnectionError("Handshake failed: CERTIFICATE_VERIFY_FAILED"),
            BrokerUnavailable,
            "SEKIMORI_KAFKA_CA",
        ),
        (errors.KafkaConnectionError("Handshake failed: WRONG_VERSION"), BrokerUnavailable, "does not agree on TLS"),
        (errors.KafkaTimeoutError("x"), BrokerUnavailable, "does not answer"),
        (errors.MessageSizeTooLargeError("x"), MessageRefused, "x"),
        (errors.UnknownTopicOrPartitionError("x"), TopicMissing, f"sekimori prepare --broker {AT}"),
    ],
)
def test_an_error_says_what_it_is(error: errors.KafkaError, kind: type[Exception], words: str) -> None:
    told = translate(error, AT)
    assert type(told) is kind
    assert words in str(told)
    if issubclass(kind, BrokerUnavailable):
        assert AT in str(told)
        assert ("does not answer" in str(told)) == (words == "does not answer")
    with pytest.raises(kind), translated(AT):
        raise error


def test_silence_is_said_of_silence_alone() -> None:
    """Of all that the library has."""
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.KafkaError)]
    silent = {c.__name__ for c in classes if "does not answer" in str(translate(c("x"), AT))}
    assert len(classes) > 100
    assert silent == {
        *("KafkaConnectionError", "KafkaTimeoutError", "NodeNotReadyError", "BrokerNotAvailableError"),
        *("RequestTimedOutError", "NetworkExceptionError", "MetadataEmptyBrokerList", "StaleMetadata", "Cancelled"),
        "TooManyInFlightRequests",
    }
