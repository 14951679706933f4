"""What a mail server asks and is told; pure text.

To add a hook write its file and its examples, and add an entry below. See docs/add-a-hook.md.
"""

from pipeline.hooks import dovecot, postfix
from pipeline.hooks.hook import Hook

HOOKS: tuple[Hook, ...] = (
    postfix.HOOK,
    dovecot.HOOK,
)
