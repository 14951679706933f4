"""The errors of the client library, in the words of ``pipeline.ports``: what is wrong, and what to do about it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from kafka import errors as kafka_errors

from pipeline.ports import AccessRefused, BrokerUnavailable, MessageRefused, TopicMissing

_REFUSED = (
    kafka_errors.MessageSizeTooLargeError,
    kafka_errors.RecordListTooLargeError,
    kafka_errors.InvalidRecordError,
)
_NO_ACL = "does not allow it to this user: an ACL is missing; sekimori prepare --acls lists what each job needs"
_MISSING = (kafka_errors.UnknownTopicOrPartitionError, kafka_errors.UnknownTopicIdError)
_TOLD: tuple[tuple[tuple[type[Exception], ...], str], ...] = (
    (
        (kafka_errors.SaslAuthenticationFailedError, kafka_errors.UnacceptableCredentialError),
        "does not accept the user or the password; see SEKIMORI_KAFKA_USER and SEKIMORI_KAFKA_PASSWORD_FILE",
    ),
    (
        (kafka_errors.UnsupportedSaslMechanismError, kafka_errors.IllegalSaslStateError),
        "does not offer this SASL mechanism; see SEKIMORI_KAFKA_MECHANISM, and which listener the address is of",
    ),
    (
        (kafka_errors.AuthorizationError,),
        _NO_ACL,
    ),
    (
        (kafka_errors.UnsupportedCodecError, kafka_errors.UnsupportedCompressionTypeError),
        "has messages in a compression that cannot be read here; install sekimori with all that it depends on",
    ),
    (
        (kafka_errors.CorruptRecordError, kafka_errors.CorruptRecordException),
        "has a message that is damaged; the broker's own log tells where, and kafka-delete-records.sh removes it",
    ),
    (
        (kafka_errors.UnsupportedVersionError, kafka_errors.IncompatibleBrokerVersion),
        "is of a version that lacks what is asked for; Sekimori needs Kafka 2.5 or later",
    ),
    (
        (kafka_errors.NotEnoughReplicasError, kafka_errors.NotEnoughReplicasAfterAppendError),
        "has fewer replicas in sync than min.insync.replicas asks for; see which brokers are down",
    ),
    (
        (kafka_errors.KafkaStorageError,),
        "cannot write to its disk; see whether it is full",
    ),
    (
        (kafka_errors.PolicyViolationError, kafka_errors.InvalidReplicationFactorError),
        "refuses it by its own rules",
    ),
    (
        (kafka_errors.ThrottlingQuotaExceededError, kafka_errors.QuotaViolationError),
        "holds this user to a quota; raise it, or wait",
    ),
    (
        (
            *(kafka_errors.LeaderNotAvailableError, kafka_errors.NotLeaderForPartitionError),
            *(kafka_errors.CoordinatorNotAvailableError, kafka_errors.CoordinatorLoadInProgressError),
            *(kafka_errors.NotCoordinatorError, kafka_errors.NotControllerError),
        ),
        "says that another is to lead, or none does just now; if it lasts, see which brokers are down",
    ),
    (
        (kafka_errors.InvalidTopicError,),
        "refuses the name of a topic: letters, digits, '.', '_' and '-' are allowed",
    ),
    (
        (kafka_errors.OffsetOutOfRangeError, kafka_errors.NoOffsetForPartitionError),
        "no longer has the messages that come next: they were deleted, or the topic was made anew",
    ),
)
"""What the broker answers that is not silence: the client library's classes, and what is said of them."""
ACCESS = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnacceptableCredentialError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.AuthorizationError,
)
"""Somebody must mend it before trying again helps."""
_HANDSHAKE: tuple[tuple[str, str], ...] = (
    (
        "CERTIFICATE_VERIFY_FAILED",
        "shows a certificate that is not from SEKIMORI_KAFKA_CA (or not for this host name, or out of date)",
    ),
    ("Handshake failed", "does not agree on TLS; is this its TLS listener? See SEKIMORI_KAFKA_PROTOCOL"),
    (
        " alert ",
        "does not accept our certificate, or asks for one; see SEKIMORI_KAFKA_CERTIFICATE and SEKIMORI_KAFKA_KEY",
    ),
)
"""What stands in the text of a KafkaConnectionError, and what is said of it."""
_SILENCE = (
    *(kafka_errors.KafkaConnectionError, kafka_errors.KafkaTimeoutError, kafka_errors.NodeNotReadyError),
    *(kafka_errors.BrokerNotAvailableError, kafka_errors.RequestTimedOutError, kafka_errors.NetworkExceptionError),
    *(kafka_errors.MetadataEmptyBrokerList, kafka_errors.StaleMetadata, kafka_errors.Cancelled),
    kafka_errors.TooManyInFlightRequests,
)
"""Nobody answers, or not in time."""


def translate(error: kafka_errors.KafkaError, bootstrap: str) -> Exception:
    """The client library's error in the words of ``pipeline.ports``."""
    if isinstance(error, _REFUSED):
        return MessageRefused(str(error))
    if isinstance(error, _MISSING):
        return TopicMissing(f"{error}; make the topics with: sekimori prepare --broker {bootstrap}")
    for classes, told in _TOLD:
        if isinstance(error, classes):
            kind = AccessRefused if isinstance(error, ACCESS) else BrokerUnavailable
            return kind(f"the Kafka broker at {bootstrap} {told} ({error})")
    for part, told in _HANDSHAKE:
        if isinstance(error, kafka_errors.KafkaConnectionError) and part in str(error):
            return BrokerUnavailable(f"the Kafka broker at {bootstrap} {told} ({error})")
    if "AuthorizationFailedError" in str(error):  # so the library tells that a producer is not let
        return AccessRefused(f"the Kafka broker at {bootstrap} {_NO_ACL} ({error})")
    if not isinstance(error, _SILENCE):
        return BrokerUnavailable(
            f"the Kafka broker at {bootstrap} was asked, and this came of it: {error!r}; it is tried again where that "
            "may help, and the broker's own log may tell more"
        )
    return BrokerUnavailable(
        f"the Kafka broker at {bootstrap} does not answer ({error}); "
        f"is it running, and is this the address that it advertises? Set SEKIMORI_BROKERS or --broker, "
        f"and SEKIMORI_KAFKA_PROTOCOL if it wants TLS or a password"
    )


@contextmanager
def translated(bootstrap: str) -> Iterator[None]:
    """Turns every error of the client library into one of ``pipeline.ports``."""
    try:
        yield
    except kafka_errors.KafkaError as error:
        raise translate(error, bootstrap) from error


def first_offsets(source: Any, partitions: Sequence[Any]) -> dict[Any, int]:
    """The first offset of each partition that a consumer asks for. Raises TopicMissing, and what the consumer does."""
    return _told(source.beginning_offsets, partitions, None)


def end_offsets(source: Any, partitions: Sequence[Any], timeout_ms: int | None = None) -> dict[Any, int]:
    """The end of each partition, as the broker lists it. Raises TopicMissing, and what the consumer does."""
    return _told(source.end_offsets, partitions, timeout_ms)


def _told(ask: Callable[..., dict[Any, int]], partitions: Sequence[Any], timeout_ms: int | None) -> dict[Any, int]:
    """A topic that is being deleted has partitions without offsets for a moment: kafka-python looks them up in its
    answer nevertheless (consumer/fetcher.py, ``beginning_or_end_offset``)."""
    try:
        return ask(partitions, timeout_ms=timeout_ms)
    except KeyError as error:
        if error.args[0] not in partitions:
            raise
        raise gone(error.args[0]) from error


def position(source: Any, partition: Any) -> int:
    """The offset of the next record that a consumer will return. Raises TopicMissing, and what the consumer does."""
    at: int | None = source.position(partition)
    if at is None:
        raise gone(partition)
    return at


def gone(partition: Any) -> TopicMissing:
    """To be raised where the broker tells no offsets of a partition that it had."""
    return TopicMissing(
        f"the broker tells no offsets of partition {partition.partition} of {partition.topic}: the topic is gone or "
        "going; make it again with: sekimori prepare"
    )
