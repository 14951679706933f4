"""The flow, in order. Stages are pure functions on batches; only ``adapters`` and ``cli`` touch the world.

formats     a line -> an event                       one small file per program
join        client of smtpd + recipients of qmgr + outcome of delivery, by queue id; login lines by session id
            (``failures``: what two programs tell of one failure counts once; trouble of a server is no guessing)
enrich      country, network, channel
subjects    events -> tallies, combined per frame
windows     tallies -> sliding counts of each subject
rules       counts -> verdicts                       one small file per rule; ``judge`` asks one
decide      verdicts -> decisions                    allowlist, episodes, escalation, shadow mode
detector    windows, rules and decide for the subjects of one partition
flow        composes them; the jobs (by ``stages``), replay, notebooks and tests call only this
enforcement the decisions that hold on a mail server; ``hooks``: what it is told, pure text

Beside the flow: ``trials`` (backtests, suggested limits), ``storage`` (rows for analysts), ``analysis`` (queries).
"""
