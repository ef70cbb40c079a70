"""Headers of answers beside those that every answer has: what a call of a model says of itself, and of files."""

from __future__ import annotations

from typing import Any

Headers = dict[str, Any]

_CALLS = frozenset(
    {
        *("InferenceService_Generate", "InferenceService_Embed"),
        *("OpenAiService_ChatCompletions", "OpenAiService_Responses", "OpenAiService_Embeddings"),
    }
)
_FILES = frozenset({"UsageService_ExportRequests"})
_SESSIONS = frozenset(
    {
        *("AuthService_CreateSession", "AuthService_RefreshSession", "AuthService_DeleteSession"),
        *("FactorService_CompleteSession", "FederationService_BeginFederatedLogin"),
        "FederationService_CompleteFederatedLogin",
    }
)
_TEXT, _NUMBER = {"type": "string"}, {"type": "integer"}
_RECEIPT: dict[str, tuple[str, dict[str, str]]] = {
    "x-promptmesh-record-id": ("Id of the call's receipt: `GET /api/v1/requests/{id}` reads it.", _TEXT),
    "x-promptmesh-model": ("Model that answers.", _TEXT),
    "x-promptmesh-provider": ("Provider of that model.", _TEXT),
    "x-promptmesh-attempts": ("Calls of providers that it took.", _NUMBER),
    "x-promptmesh-config-version": ("Version of the configuration that decided.", _NUMBER),
    "x-promptmesh-cache": ("Where the route has a cache: bypass, miss, hit, joined or refresh.", _TEXT),
    "x-promptmesh-cost-nanos": (
        "Cost in nano-US-dollars, where it is known as the answer begins: not of a stream, nor where the price is "
        "unknown.",
        _NUMBER,
    ),
}
_POSTS = frozenset({"PostService_CreatePost", "PostService_UpdatePost"})
_POST_LIMITS: dict[str, tuple[str, dict[str, str]]] = {
    "x-ratelimit-limit-posts": ("Posts and edits a day that the tightest limit allows.", _NUMBER),
    "x-ratelimit-remaining-posts": ("How many of them are left.", _NUMBER),
    "x-ratelimit-reset-posts": ("When it is whole again, `3600s`.", _TEXT),
}
_LIMITS: dict[str, tuple[str, dict[str, str]]] = {
    "x-ratelimit-limit-requests": ("Calls that the tightest limit on calls allows.", _NUMBER),
    "x-ratelimit-remaining-requests": ("How many of them are left.", _NUMBER),
    "x-ratelimit-reset-requests": ("When it is whole again, `26s`.", _TEXT),
    "x-ratelimit-limit-tokens": ("Tokens that the tightest limit on tokens allows.", _NUMBER),
    "x-ratelimit-remaining-tokens": ("How many of them are left, calls under way counted whole.", _NUMBER),
    "x-ratelimit-reset-tokens": ("When it is whole again, `26s`.", _TEXT),
    "x-promptmesh-budget-remaining-nanos": ("What is left of the tightest budget, nano-US-dollars.", _NUMBER),
}


def _component(name: str) -> str:
    return "".join(part.title() for part in name.removeprefix("x-").split("-"))


COMPONENTS: Headers = {
    **{
        _component(name): {"description": description, "schema": schema}
        for name, (description, schema) in _RECEIPT.items()
    },
    **{
        _component(name): {"description": f"Only where such a limit holds. {description}", "schema": schema}
        for name, (description, schema) in {**_LIMITS, **_POST_LIMITS}.items()
    },
    "SetCookie": {
        "description": "What no script can read: a browser's refresh token, where it asked for that, or what binds a "
        "log-in elsewhere to it.",
        "schema": _TEXT,
    },
    "ContentDisposition": {"description": "`attachment`, with a name for the file.", "schema": _TEXT},
}


def of(operation: str) -> Headers:
    """References to the headers of an operation, by name."""
    names: tuple[str, ...] = ()
    if operation in _CALLS:
        names = (*_RECEIPT, *_LIMITS)
    elif operation in _POSTS:
        names = tuple(_POST_LIMITS)
    elif operation in _FILES:
        names = ("content-disposition",)
    elif operation in _SESSIONS:
        names = ("set-cookie",)
    return {name: {"$ref": f"#/components/headers/{_component(name)}"} for name in names}
