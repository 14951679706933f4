-- What happened within a minute, per account, address, network, country and channel, and raw frame: with the frame in
-- the key, a frame that is written twice gives the same rows, which merge away. Connections are counted together,
-- whatever address they came from. `events` of a frame's rows add up to the number of its events.
-- `errors`: password errors of access servers. `errors_mta` and `errors_sasl` are the same errors of SMTP AUTH, seen by
-- the MTA and by the SASL server: take the larger. `unknown_recipients`: bounces with DSN 5.1.x.
CREATE TABLE IF NOT EXISTS rates_per_minute (
    minute DateTime('UTC'),
    account String,
    ip String,
    network String,
    country String,
    channel String,
    source String,
    frame UInt64,
    events UInt32,
    messages UInt64,
    recipients UInt64,
    bytes UInt64,
    logins UInt64,
    errors UInt64,
    errors_mta UInt64,
    errors_sasl UInt64,
    delivered UInt64,
    bounced UInt64,
    deferred UInt64,
    unknown_recipients UInt64,
    rejects UInt64
) ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(minute)
ORDER BY (minute, account, ip, network, country, channel, source, frame);

CREATE MATERIALIZED VIEW IF NOT EXISTS events_to_rates TO rates_per_minute AS
SELECT
    toStartOfMinute(time) AS minute,
    account,
    if(kind IN ('connect', 'other'), '', client_ip) AS ip,
    network,
    country,
    channel,
    source,
    frame,
    toUInt32(count()) AS events,
    toUInt64(countIf(kind = 'submission')) AS messages,
    toUInt64(sumIf(greatest(nrcpt, 1), kind = 'submission')) AS recipients,
    toUInt64(sumIf(size, kind = 'submission')) AS bytes,
    toUInt64(sumIf(count, kind = 'auth_success')) AS logins,
    toUInt64(sumIf(count, kind = 'auth_failure' AND reason IN ('password', 'unknown_user', 'unknown')
        AND program != 'smtpd' AND service != 'smtp')) AS errors,
    toUInt64(sumIf(count, kind = 'auth_failure' AND reason IN ('password', 'unknown_user', 'unknown')
        AND program = 'smtpd')) AS errors_mta,
    toUInt64(sumIf(count, kind = 'auth_failure' AND reason IN ('password', 'unknown_user', 'unknown')
        AND program != 'smtpd' AND service = 'smtp')) AS errors_sasl,
    toUInt64(countIf(kind = 'delivery' AND status = 'sent')) AS delivered,
    toUInt64(countIf(kind = 'delivery' AND status = 'bounced')) AS bounced,
    toUInt64(countIf(kind = 'delivery' AND status = 'deferred')) AS deferred,
    toUInt64(countIf(kind = 'delivery' AND status = 'bounced' AND substring(dsn, 1, 4) = '5.1.')) AS unknown_recipients,
    toUInt64(countIf(kind = 'reject')) AS rejects
FROM events
GROUP BY minute, account, ip, network, country, channel, source, frame;
