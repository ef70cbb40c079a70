"""Logs: one JSON object a line on stderr, of structlog and of the standard library alike.

    {"ts":"2026-01-01T00:00:00.000Z","level":"info","event":"…","service":"prompts","worker":"prompts-0","request_id":"…",…}

What runs for a call carries its request id and trace id by itself. Values under names that mean a secret never leave.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import traceback
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import Any, Literal

import orjson
import structlog

from services.mesh.call import Call, current_or_none

REDACTED = "[redacted]"
# A name means a secret if one of these ends it, or is a part of it between underscores: "refresh_token", not "tokens".
_SECRET_NAME = re.compile(
    r"(^|[_\-.])(password|passwd|secret|authorization|cookie|pepper|credential|api_?key|token)$|(password|secret)", re.I
)
_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_PLAIN_ATTRIBUTES = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
# These say at info what our own lines say already.
_QUIET_LOGGERS = ("grpc", "asyncio", "httpx", "urllib3", "opentelemetry")

_STDERR_FD = 2

_base: dict[str, str] = {}
_level = logging.INFO
_lost = 0  # lines, since the last that could be written


def configure(
    service: str, worker: str, level: Literal["debug", "info", "warning", "error"] = "info", form: str = "json"
) -> None:
    """Sets up logging for this process, once, at its start."""
    global _level
    _base.clear()
    _base.update({"service": service, "worker": worker})
    _level = _LEVELS[level]
    render: Any = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if form == "text" else _json
    structlog.configure(
        processors=[_complete, _redact, *([] if form == "text" else [_exception]), render],
        wrapper_class=structlog.make_filtering_bound_logger(_level),
        logger_factory=_Stderr,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_ToStructlog()]
    root.setLevel(_level)
    for name in _QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(_level, logging.WARNING))
    logging.captureWarnings(True)


def get_logger(**bound: Any) -> Any:
    """A structlog logger: `log.info("post created", post_id=…)`."""
    return structlog.get_logger(**bound)


def is_secret_name(name: str) -> bool:
    """Whether what is logged under this name is withheld."""
    return _SECRET_NAME.search(name) is not None


def access_line(call: Call, code: str, duration_s: float, reason: str, *, quiet: bool) -> None:
    """One line about a finished call: never its body. `quiet` calls (reads that went well) are of level debug.

    Written past structlog: it is the one line that every call pays for.
    """
    if quiet and _level > logging.DEBUG:
        return
    caller = call.caller
    line: dict[str, Any] = {
        "ts": _now(),
        "level": "debug" if quiet else "info",
        "event": "call",
        **_base,
        "method": call.method[1:],
        "code": code,
        "duration_ms": round(duration_s * 1000, 3),
        "request_id": call.request_id,
        "trace_id": call.traceparent[3:35],
        "caller": caller.kind.value,
    }
    if reason:
        line["reason"] = reason
    for name, value in (("user_id", caller.user_id), ("api_key_id", caller.api_key_id), ("peer", caller.service)):
        if value:
            line[name] = value
    if call.log:
        line.update({name: REDACTED if is_secret_name(name) else value for name, value in call.log.items()})
    _write(orjson.dumps(line, default=str).decode())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _complete(_logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    call = current_or_none()
    head: dict[str, Any] = {
        "ts": _now(),
        "level": event.pop("level", None) or ("error" if level == "exception" else level),
        "event": event.pop("event", ""),
        **_base,
    }
    if call is not None:
        head["request_id"] = call.request_id
        head["trace_id"] = call.traceparent[3:35]
    return {**head, **event}


def _redact(_logger: Any, _level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name in event:
        if is_secret_name(name):
            event[name] = REDACTED
    return event


def _exception(_logger: Any, _level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    if isinstance(info, BaseException):
        info = (type(info), info, info.__traceback__)
    if info and info[0] is not None:
        event["exception"] = "".join(traceback.format_exception(*info))
    return event


def _json(_logger: Any, _level: str, event: MutableMapping[str, Any]) -> str:
    return orjson.dumps(dict(event), default=str, option=orjson.OPT_NON_STR_KEYS).decode()


class _Stderr:
    """Where structlog's lines go: to what stderr is when the line is written. One write a line, so lines stay whole."""

    def __init__(self, *_arguments: Any) -> None:
        """structlog hands over what a logger was asked for with; nothing is needed."""

    def msg(self, line: str) -> None:
        _write(line)

    debug = info = warning = error = critical = exception = fatal = log = msg


class _ToStructlog(logging.Handler):
    """Carries lines of the standard library's logging to structlog, with what came in `extra`."""

    def emit(self, record: logging.LogRecord) -> None:
        extra = {name: value for name, value in record.__dict__.items() if name not in _PLAIN_ATTRIBUTES}
        extra.pop("event", None)
        level = next((name for name, number in reversed(_LEVELS.items()) if record.levelno >= number), "debug")
        try:
            # `extra` may hold any name, "level" too: the record's own come last.
            fields = {**extra, "logger": record.name}
            if record.exc_info:
                fields["exc_info"] = record.exc_info
            fields.pop("level", None)
            getattr(structlog.get_logger(), level)(record.getMessage(), **fields)
        except Exception:
            self.handleError(record)


def _write(line: str) -> None:
    """A line, or nothing where it cannot be written: on a full disk, calls go on. Says later how many were lost."""
    global _lost
    try:
        if _lost:
            said = {"ts": _now(), "level": "warning", "event": "log lines could not be written", **_base, "lost": _lost}
            # The first of them may stand there in part.
            _put("\n" + orjson.dumps(said).decode() + "\n")
            _lost = 0
        _put(line + "\n")
    except OSError:
        _lost += 1


def _put(text: str) -> None:
    """Past the buffer of the real stderr: it keeps what a full disk did not take, and writes that later, when it has
    long been counted as lost. Raises OSError; a part may stand there then."""
    stderr = sys.stderr
    if stderr is not sys.__stderr__:
        stderr.write(text)
        return
    data = text.encode("utf-8", "backslashreplace")
    while (written := os.write(_STDERR_FD, data)) < len(data):
        data = data[written:]


def flush() -> None:
    """Makes sure that what was logged is out, before the process ends itself."""
    with contextlib.suppress(OSError):  # a full disk
        sys.stderr.flush()
        os.fsync(sys.stderr.fileno()) if sys.stderr.seekable() else None
