-- One row per event. `source`, `frame` and `record` say where it was read: topic-partition (or file), offset of the
-- raw frame in it, place within the frame. They make a row that is written twice the same row, which merges away.
-- What an event does not carry is '' or 0. `milliseconds` are those of `time`; addresses are canonical text.
CREATE TABLE IF NOT EXISTS events (
    kind String,
    time DateTime('UTC'),
    milliseconds UInt16,
    host String,
    program String,
    service String,
    account String,
    client_ip String,
    queue_id String,
    sender String,
    recipient String,
    nrcpt UInt32,
    size UInt64,
    status String,
    method String,
    reason String,
    dsn String,
    session String,
    message_id String,
    count UInt32,
    country String,
    network String,
    channel String,
    source String,
    frame UInt64,
    record UInt32
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (kind, time, source, frame, record);
