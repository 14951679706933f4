"""The flow, a room on a line, from a log line to what a mail server is told.

Each room imports from itself and from the rooms above it; a test reads this list and holds every module to it.

ports       what the world must do for us: topics, compacted topics, rows of a store
settings    SEKIMORI_* of the environment, read and checked once
metrics     every figure that a process may tell, by name
networks    addresses and prefixes, what people type for a subject, values found by their subject
subjects    who can be restricted or allowed
partition   the work of a streaming job on one partition: a record in, messages out, a state that can be saved
sources     which frames were worked on before: what is sent again counts once, and what is forged hides little
formats     a log line -> an event                       one small file per program, its examples beside it
normalize   events -> joined by queue id and session -> country, network, channel -> tallies, combined per frame
windows     tallies -> sliding counts of each subject, and what may be asked of them
rules       counts -> is something wrong?                one small file per rule, its timed examples beside it
detect      windows asked by rules -> verdicts -> decisions: allowlist, episodes, escalation, shadow mode
enforce     the decisions that hold on a mail server, and the words for who is refused
hooks       what a mail server asks, and what it is told; pure text, one file per mail server
replay      the whole flow in memory, over log files
storage     messages as rows of the analytical store, and events read back from it
trials      what other rules would have done (backtests), and which limits fit (suggestions)
analysis    what analysts ask of the store
adapters    the world: Kafka, Faust, log files, sockets, stores, worker processes
cli         the command ``sekimori``
"""
