"""Which calls are the same: the digest of everything that an answer depends on.

Two keys for what is one question cost a miss; one key for two questions would be a wrong answer, so nothing is taken to
be equal that a provider could tell apart:

- members of objects in any order are the same; elements of lists are not;
- 1 and 1.0 differ, and so do 0.0 and -0.0; a member that is missing and one that is null differ;
- `stream` is not read from the body but from the call, which knows what it means where it is missing or null;
- the caps on the answer count, because they differ from key to key; tags, ids and deadlines of the call do not.

Tenants never share. What a route does with an answer (targets, moderation, masking) is in the route's version.
"""

from __future__ import annotations

import hashlib

import orjson
from promptmesh.inference.v1 import receipt_pb2 as pb

from services.inference.engine.call import ModelCall
from services.inference.routing.route import Midstream
from services.mesh.call import Caller

# Raised when the meaning of a key or of what is stored under it changes.
FORMAT = 2
# What a provider remembers, bills or routes by, and does not answer by.
IGNORED = frozenset(
    {"metadata", "user", "safety_identifier", "store", "prompt_cache_key", "prompt_cache_retention", "stream"}
)
CHAT, EMBEDDINGS = "chat", "embeddings"


class UncacheableError(Exception):
    """The call has no key: it has no tenant, or its body cannot be written as JSON (its provider will say so)."""


def family_of(call: ModelCall) -> str:
    """Surfaces of one family ask in the same words and are answered in the same, so that they share answers."""
    return EMBEDDINGS if call.surface == pb.SURFACE_EMBEDDINGS else CHAT


def tenant_of(caller: Caller) -> str:
    """Whose answers they are; a service of the mesh that calls for no organisation is a tenant of its own."""
    if caller.org_id:
        return caller.org_id
    if caller.service:
        return f"service:{caller.service}"
    raise UncacheableError


def key_of(call: ModelCall) -> bytes:
    """32 bytes. UncacheableError: there is none."""
    route = call.route
    asked = [
        FORMAT,
        tenant_of(call.caller),
        route.name,
        route.version,
        family_of(call),
        call.streamed,
        call.wants_usage,
        # Who follows an answer that may begin anew must be able to say so.
        call.streamed and call.restartable and route.midstream is Midstream.RESTART,
        call.output_cap,
        {name: value for name, value in call.body.items() if name not in IGNORED},
    ]
    try:
        canonical = orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # orjson's own errors are TypeErrors: nested too deeply, a number of more than 64 bits
        raise UncacheableError from None
    return hashlib.sha256(canonical).digest()
