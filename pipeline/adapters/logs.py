"""Structured logs on standard error: for people, or JSON lines for machines. Our own and those of libraries."""

import logging
import sys

import structlog

# What these say of lost connections we say ourselves, once, and with what to do.
_NOISY = ("kafka", "aiokafka", "asyncio", "mode")


def set_up_logs(as_json: bool) -> None:
    """Colours only on a terminal. Libraries are heard from WARNING on, some only from CRITICAL on."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    common: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(processors=[*common, renderer], logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=common))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
