"""The flow, in order. Stages are pure functions on batches; only ``adapters`` and ``cli`` touch the world.

formats   a line -> an event                       one small file per program
failures  told by two programs, counted once; trouble of a server told from guessing
join      client of smtpd + recipients of qmgr + outcome of delivery, by queue id; login lines by session id
enrich    country, network, channel
subjects  events -> tallies, combined per frame
windows   tallies -> sliding counts of each subject
rules     counts -> verdicts                       one small file per rule
decide    verdicts -> decisions                    allowlist, episodes, escalation, shadow mode
hooks     decisions -> what a mail server is told  pure text
flow      composes them; the jobs, replay, notebooks and tests call only this
"""
