"""What goes wrong with providers, as the errors that callers see.

| what happened | reason |
|---|---|
| 401, 402, 403 | PROVIDER_CREDENTIAL_REFUSED |
| 404 | MODEL_NOT_FOUND |
| 408, no answer in time | PROVIDER_TIMEOUT |
| 413, other 4xx | PROVIDER_REJECTED; CONTEXT_LENGTH_EXCEEDED or PROVIDER_CONTENT_REFUSED where the provider says so |
| 429 | PROVIDER_RATE_LIMITED, with its Retry-After |
| 5xx, redirects, connection lost before the answer | PROVIDER_UNAVAILABLE |
| an answer that is cut or malformed | PROVIDER_ANSWER_BROKEN |
"""

from __future__ import annotations

import email.utils
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import orjson

from services.mesh.errors import MeshError

MAX_PROVIDER_TEXT = 300  # characters of a provider's own words in an error of ours
MAX_RETRY_AFTER_S = 3600.0
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\s]+")
_KEYS = re.compile(
    r"(?i)\b(?:sk|pk|rk|pm|gsk|xai|hf|key|r8)[-_][\w\-*.]{6,}"  # keys as OpenAI, Anthropic, Groq, … make them
    r"|\bAIza[\w\-]{10,}"  # Google
    r"|\bbearer\s+\S+"
    r"|\beyJ[\w\-]{8,}\.[\w\-.]+"  # JWT
    r"|\b(?=[A-Za-z\d_\-]*\d)(?=[A-Za-z\d_\-]*[A-Za-z])[A-Za-z\d_\-]{32,}\b"  # anything long that looks random
)
# What OpenAI, Azure and litellm call a refusal on grounds of policy.
CONTENT_CODES = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})
_CONTEXT = re.compile(
    r"(?i)context[ _-]?(?:length|window|size)|maximum (?:context|prompt|input)|prompt is too long|too many tokens"
    r"|input (?:is )?too long|exceeds? the (?:available )?context"
)


def sanitise(text: str, key: str = "") -> str:
    """A provider's words, fit for an error of ours: one line, bounded, nothing that looks like a key."""
    # A bound before the regular expressions: a provider decides how long its words are.
    text = text[: MAX_PROVIDER_TEXT * 8]
    if key:
        text = text.replace(key, "[key]")
    text = _KEYS.sub("[key]", _CONTROL.sub(" ", text)).strip()
    return text if len(text) <= MAX_PROVIDER_TEXT else text[: MAX_PROVIDER_TEXT - 1] + "…"


def answer_error(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, *, model: str = "", key: str = ""
) -> MeshError:
    """The error for an HTTP answer other than 200."""
    said, code, param = _error_object(body)
    return status_error(
        provider, status, said, code, param=param, model=model, key=key, retry_after_s=retry_after_s(headers)
    )


def status_error(
    provider: str,
    status: int,
    said: str,
    code: str = "",
    *,
    param: str = "",
    model: str = "",
    key: str = "",
    retry_after_s: float | None = None,
) -> MeshError:
    """The error for a provider's status and words."""
    said = sanitise(said, key)
    words = f": {said}" if said else "."
    metadata = {"provider": provider, "upstream_status": str(status)}
    if 400 <= status < 500 and (code == "context_length_exceeded" or (status in {400, 413} and _CONTEXT.search(said))):
        return MeshError(
            "CONTEXT_LENGTH_EXCEEDED",
            f"The input is longer than the model takes{words}",
            metadata=metadata,
        )
    if 400 <= status < 500 and code in CONTENT_CODES:
        return MeshError(
            "PROVIDER_CONTENT_REFUSED",
            f"The provider {provider} refused the content of the request by its policy{words}",
            metadata=metadata,
        )
    match status:
        case 401 | 402 | 403:
            return MeshError(
                "PROVIDER_CREDENTIAL_REFUSED",
                f"The provider {provider} refused the credential that the operator set (status {status}). "
                "An operator must look; trying again will not help.",
                metadata=metadata,
            )
        case 404:
            return MeshError(
                "MODEL_NOT_FOUND",
                f"The provider {provider} does not know the model {model or 'asked for'}; "
                "an operator must correct its upstream_model.",
                metadata=metadata,
            )
        case 408:
            return timeout(provider, "It answered 408 (request timeout)")
        case 429:
            return MeshError(
                "PROVIDER_RATE_LIMITED",
                f"The provider {provider} limits how much is asked of it{words}",
                metadata=metadata,
                retry_after_s=retry_after_s,
            )
        case _ if 400 <= status < 500:
            if param:
                metadata["param"] = sanitise(param)[:128]
            if code:
                metadata["provider_code"] = sanitise(code)[:128]
            return MeshError(
                "PROVIDER_REJECTED", f"The provider {provider} refused the request{words}", metadata=metadata
            )
        case _:
            return MeshError(
                "PROVIDER_UNAVAILABLE",
                f"The provider {provider} failed (status {status}){words}",
                metadata=metadata,
                retry_after_s=retry_after_s,
            )


def unavailable(provider: str, what: str) -> MeshError:
    """The provider could not be reached, or let go before it answered."""
    return MeshError(
        "PROVIDER_UNAVAILABLE",
        f"The provider {provider} could not be reached: {what}.",
        metadata={"provider": provider},
    )


def broken(provider: str, what: str) -> MeshError:
    """The answer ended early or was malformed."""
    return MeshError(
        "PROVIDER_ANSWER_BROKEN",
        f"The answer of the provider {provider} is broken: {what}. What came before it is not a whole answer.",
        metadata={"provider": provider},
    )


def timeout(provider: str, what: str) -> MeshError:
    """The provider took too long."""
    return MeshError(
        "PROVIDER_TIMEOUT", f"The provider {provider} took too long: {what}.", metadata={"provider": provider}
    )


def stream_error(provider: str, error: Any, *, model: str = "", key: str = "") -> MeshError:
    """The error for an `error` object that came inside a stream that had begun with 200."""
    said, code, param = _fields(error)
    status = int(code) if code.isdigit() and len(code) == 3 else 0
    if not 400 <= status < 600:
        lowered = f"{code} {error.get('type', '') if isinstance(error, dict) else ''}".lower()
        status = (
            429
            if "rate_limit" in lowered
            else 400
            if code in CONTENT_CODES or "invalid_request" in lowered or "context" in lowered
            else 503
        )
    return status_error(provider, status, said, code, param=param, model=model, key=key)


def retry_after_s(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a provider asks us to wait (`retry-after-ms`, or `retry-after` in seconds or as a date).

    Names of headers are in lower case, or are found in any.
    """
    try:
        if milliseconds := headers.get("retry-after-ms"):
            return _bounded(float(milliseconds) / 1000)
        value = headers.get("retry-after", "").strip()
        if not value:
            return None
        if value.replace(".", "", 1).isdigit():
            return _bounded(float(value))
        moment = email.utils.parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return _bounded((moment - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float | None:
    return max(0.0, min(seconds, MAX_RETRY_AFTER_S)) if math.isfinite(seconds) else None


def _error_object(body: bytes) -> tuple[str, str, str]:
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8", "replace")
        # A page of HTML from some proxy says nothing to a caller.
        return ("" if text.lstrip()[:1] == "<" else text), "", ""
    if isinstance(parsed, list) and parsed:  # Gemini's endpoint wraps its error in a list
        parsed = parsed[0]
    return _fields(parsed.get("error", parsed) if isinstance(parsed, dict) else parsed)


def _fields(error: Any) -> tuple[str, str, str]:
    """Message, code and param of an error object in any of the shapes that are about."""
    if isinstance(error, dict):
        message = error.get("message") or error.get("detail") or ""
        code, param = error.get("code"), error.get("param")
        return (
            message if isinstance(message, str) else orjson.dumps(message, default=str).decode(),
            str(code) if isinstance(code, str | int) else "",
            param if isinstance(param, str) else "",
        )
    return (error if isinstance(error, str) else ""), "", ""
