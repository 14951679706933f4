"""What the client library raises is told for what it is, with what to do."""

from collections.abc import Callable

import pytest
from kafka import TopicPartition, errors

from pipeline.adapters.kafka.errors import end_offsets, first_offsets, position, translate, translated
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


class _Going:
    """A consumer of a topic that is being deleted: kafka-python finds no offset of one partition in its answer."""

    def __init__(self, unknown: object) -> None:
        self._unknown = unknown

    def end_offsets(self, partitions: object, timeout_ms: int | None = None) -> dict[object, int]:
        raise KeyError(self._unknown)

    beginning_offsets = end_offsets

    def position(self, partition: object) -> None:
        return None


@pytest.mark.parametrize("ask", [end_offsets, first_offsets])
def test_a_topic_that_is_going_has_partitions_without_offsets(ask: Callable[..., dict[object, int]]) -> None:
    asked = [TopicPartition("enforcement", 0), TopicPartition("enforcement", 1)]
    with pytest.raises(TopicMissing, match="partition 1 of enforcement: the topic is gone or going"):
        ask(_Going(asked[1]), asked)
    with pytest.raises(KeyError, match="other"):  # not what it is known for
        ask(_Going("other"), asked)


def test_a_consumer_that_knows_no_position_of_a_partition_says_so() -> None:
    with pytest.raises(TopicMissing, match="partition 3 of enforcement"):
        position(_Going(None), TopicPartition("enforcement", 3))
