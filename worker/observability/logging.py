"""Events with keys, one JSON object a line on stderr (or coloured on a terminal): what happened, never what
somebody wrote."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import Any

import structlog

logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger("feltsense")

_LIBRARIES = (
    "celery", "kombu", "redis", "alembic", "sqlalchemy", "httpx2", "httpcore2", "opentelemetry", "tornado",
    "urllib3",
)  # fmt: skip
"""Their info lines tell of every message; their exceptions and arguments may quote one."""


def configure(level: str) -> None:
    """Route structlog and the standard library through one text-free renderer; call once in a process."""
    terminal = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    render = structlog.dev.ConsoleRenderer() if terminal else structlog.processors.JSONRenderer()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, render],
        )
    )
    handler.addFilter(without_content)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in _LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def without_content(record: logging.LogRecord) -> bool:
    """Strips a library's record of what could quote a message: a body or message among its arguments, the
    words of an exception. What happened stays, and so do an exception's class and place; our own events pass
    as they are.
    """
    if record.name.partition(".")[0] not in _LIBRARIES:
        return True
    if any(word in str(record.msg).lower() for word in ("message", "body", "args")):
        record.msg, record.args = str(record.msg).partition("%")[0].rstrip(), ()
    if record.exc_info and record.exc_info[1] is not None:
        told = failure(record.exc_info[1])
        record.msg, record.args = f"{record.getMessage()} [{told['error']} at {told['where']}]", ()
    record.exc_info, record.exc_text, record.stack_info = None, None, None
    record.__dict__.pop("data", None)
    return True


def failure(error: BaseException) -> dict[str, str]:
    """An error as keys: its class and the code line it came from; not its words, which may quote what was
    handled."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename.rsplit('site-packages/')[-1]}:{frames[-1].lineno}" if frames else ""
    return {"error": type(error).__name__, "where": where}
