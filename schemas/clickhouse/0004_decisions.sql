-- Every decision, those in shadow too (`mode`). `parameters` is JSON.
CREATE TABLE IF NOT EXISTS decisions (
    id String,
    subject_kind String,
    subject String,
    action String,
    scope String,
    mode String,
    rule String,
    rule_version UInt32,
    reason String,
    issued_at DateTime('UTC'),
    expires_at DateTime('UTC'),
    actor String,
    protocols Array(String),
    metric String,
    window UInt32,
    observed Float64,
    threshold Float64,
    queue_ids Array(String),
    lines Array(String),
    parameters String,
    schema UInt16
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(issued_at)
ORDER BY (issued_at, id);

-- Decisions lifted before their time: whose, when, by whom and why.
CREATE TABLE IF NOT EXISTS releases (
    time DateTime('UTC'),
    subject_kind String,
    rule String,
    subject String,
    actor String,
    note String,
    position UInt64
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (time, subject_kind, rule, subject, position);
