-- What could not be read. `frame` and `record`: the message's offset and index.
CREATE TABLE IF NOT EXISTS dead_letters (
    source String,
    frame UInt64,
    record UInt32,
    reason String,
    raw String,
    time DateTime('UTC'),
    schema UInt16
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (source, frame, record, time);

-- Log files that were loaded whole. `digest` is of their unpacked content.
CREATE TABLE IF NOT EXISTS loads (
    digest String,
    name String,
    time DateTime('UTC'),
    lines UInt64,
    events UInt64
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY digest;
