"""One JSON object a line on stdout, for our own logs and for the standard library's."""

import logging
import sys
from typing import Any

import msgspec
import structlog

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
ROW = "Failing row contains"


class _IntoStructlog(logging.Handler):
    """Sends records of the standard library (uvicorn, asyncio, sqlalchemy) the same way."""

    def emit(self, record: logging.LogRecord) -> None:
        logger = structlog.get_logger(record.name).bind(logger=record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info or None)


def configure(level: str, instance: str) -> None:
    """Set up logging for this process; call it once, before anything logs."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            # Without locals: they hold tokens and database URLs.
            structlog.processors.ExceptionRenderer(
                structlog.tracebacks.ExceptionDictTransformer(show_locals=False, max_frames=20)
            ),
            _without_rows,
            _named(instance),
            _render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=structlog.BytesLoggerFactory(sys.stdout.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_IntoStructlog()]
    root.setLevel(LEVELS[level])
    # Their news of every start and message is ours to tell, or nobody's.
    for name in ("alembic", "uvicorn", "asyncio", "httpx"):
        logging.getLogger(name).setLevel(max(LEVELS[level], logging.WARNING))


def _without_rows(_: Any, __: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """PostgreSQL quotes the row that breaks a constraint: what users said is no log's business."""
    for name, value in entry.items():
        if isinstance(value, str) and ROW in value:
            entry[name] = value.partition(ROW)[0] + ROW
    for raised in entry.get("exception") or ():
        raised["exc_value"] = raised["exc_value"].partition(ROW)[0]
    return entry


def _named(instance: str) -> structlog.typing.Processor:
    def add(_: Any, __: str, entry: structlog.typing.EventDict) -> structlog.typing.EventDict:
        entry["instance"] = instance
        return entry

    return add


def _render(_: Any, __: str, entry: structlog.typing.EventDict) -> bytes:
    return msgspec.json.encode(entry, enc_hook=repr)
