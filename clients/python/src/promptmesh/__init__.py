"""Client of Promptmesh: publish, find and watch prompts, and call models.

    from promptmesh import Promptmesh

    with Promptmesh("http://localhost:8080", api_key="pm_…") as client:
        print(client.inference.generate_text("Say hello."))

`Promptmesh` for threads, `AsyncPromptmesh` for coroutines; `types` holds every message; PromptmeshError is what they
raise.
"""

from pkgutil import extend_path

# Where the servers' own stubs (promptmesh.auth.v1 and so on) are installed as well, both are found.
__path__ = extend_path(__path__, __name__)

from promptmesh import types
from promptmesh._async_transport import AsyncPager, AsyncStream
from promptmesh._client import AsyncPromptmesh, Promptmesh
from promptmesh._errors import (
    AbortedError,
    AlreadyExistsError,
    CancelledError,
    DeadlineExceededError,
    FailedPreconditionError,
    FieldViolation,
    InvalidArgumentError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    PromptmeshError,
    QuotaViolation,
    RateLimitedError,
    ServerError,
    StreamCutError,
    UnauthenticatedError,
    UnavailableError,
    UnimplementedError,
)
from promptmesh._retries import Retries
from promptmesh._text import GeneratedText
from promptmesh._transport import Pager, Stream

__all__ = [
    "AbortedError",
    "AlreadyExistsError",
    "AsyncPager",
    "AsyncPromptmesh",
    "AsyncStream",
    "CancelledError",
    "DeadlineExceededError",
    "FailedPreconditionError",
    "FieldViolation",
    "GeneratedText",
    "InvalidArgumentError",
    "NotFoundError",
    "OutOfRangeError",
    "Pager",
    "PermissionDeniedError",
    "Promptmesh",
    "PromptmeshError",
    "QuotaViolation",
    "RateLimitedError",
    "Retries",
    "ServerError",
    "Stream",
    "StreamCutError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnimplementedError",
    "types",
]
