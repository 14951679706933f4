-- The same by hour and by day (UTC), whatever frame it came in, and the password errors of SMTP AUTH counted once.
CREATE VIEW IF NOT EXISTS rates_per_hour AS
SELECT
    hour, account, ip, network, country, channel,
    sum(n_events) AS events,
    sum(n_messages) AS messages,
    sum(n_recipients) AS recipients,
    sum(n_bytes) AS bytes,
    sum(n_logins) AS logins,
    sum(n_delivered) AS delivered,
    sum(n_bounced) AS bounced,
    sum(n_deferred) AS deferred,
    sum(n_unknown_recipients) AS unknown_recipients,
    sum(n_rejects) AS rejects,
    sum(n_errors) + greatest(sum(n_errors_mta), sum(n_errors_sasl)) AS password_errors
FROM (
    SELECT
        toStartOfHour(minute) AS hour, account, ip, network, country, channel,
        events AS n_events,
        messages AS n_messages,
        recipients AS n_recipients,
        bytes AS n_bytes,
        logins AS n_logins,
        delivered AS n_delivered,
        bounced AS n_bounced,
        deferred AS n_deferred,
        unknown_recipients AS n_unknown_recipients,
        rejects AS n_rejects,
        errors AS n_errors,
        errors_mta AS n_errors_mta,
        errors_sasl AS n_errors_sasl
    FROM rates_per_minute
)
GROUP BY hour, account, ip, network, country, channel;

CREATE VIEW IF NOT EXISTS rates_per_day AS
SELECT
    day, account, ip, network, country, channel,
    sum(n_events) AS events,
    sum(n_messages) AS messages,
    sum(n_recipients) AS recipients,
    sum(n_bytes) AS bytes,
    sum(n_logins) AS logins,
    sum(n_delivered) AS delivered,
    sum(n_bounced) AS bounced,
    sum(n_deferred) AS deferred,
    sum(n_unknown_recipients) AS unknown_recipients,
    sum(n_rejects) AS rejects,
    sum(n_errors) + greatest(sum(n_errors_mta), sum(n_errors_sasl)) AS password_errors
FROM (
    SELECT
        toDate(minute) AS day, account, ip, network, country, channel,
        events AS n_events,
        messages AS n_messages,
        recipients AS n_recipients,
        bytes AS n_bytes,
        logins AS n_logins,
        delivered AS n_delivered,
        bounced AS n_bounced,
        deferred AS n_deferred,
        unknown_recipients AS n_unknown_recipients,
        rejects AS n_rejects,
        errors AS n_errors,
        errors_mta AS n_errors_mta,
        errors_sasl AS n_errors_sasl
    FROM rates_per_minute
)
GROUP BY day, account, ip, network, country, channel;
