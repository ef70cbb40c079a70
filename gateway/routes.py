"""Routes of the edge, derived from the contracts: what is let through, to whom, for how long, and how often."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.contracts import Binding, ContractError, Contracts, Method
from gateway.settings import AREAS

# Reads may be asked again whatever broke; a write only where it cannot have arrived.
# cancelled: what a gRPC server that drains says to calls that come before its GOAWAY is heard.
READ_RETRY_ON = "connect-failure,refused-stream,reset-before-request,unavailable,cancelled"
WRITE_RETRY_ON = "connect-failure,refused-stream"

# Every service advertises the descriptors of all and its own health, so that any one of them can answer for these.
COMMON_SERVICES_AREA = "prompts"
COMMON_METHODS = (
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", True),
    ("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", True),
    ("/grpc.health.v1.Health/Check", False),
    ("/grpc.health.v1.Health/Watch", True),
)


@dataclass(frozen=True, slots=True)
class Route:
    """A path of native gRPC, which is also what a transcoded request becomes."""

    path: str
    cluster: str
    stream: bool
    retry_on: str
    quiet: bool = False
    """Whether nothing may move until the answer is whole, and that may take a model's time: a stream of raw bodies
    carries answers of one piece too."""


@dataclass(frozen=True, slots=True)
class LargeBody:
    """A REST way that takes a large body."""

    verb: str
    regex: str


@dataclass(frozen=True, slots=True)
class Plain:
    """A method of raw bodies that is called over plain HTTP, without the transcoder."""

    path: str
    cluster: str
    large_body: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """Paths of REST that take the same verbs; with another they are answered 405."""

    regex: str
    """RE2 of the paths without the query."""
    verbs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Routes:
    """Everything that the configuration says per method. What is not named here is answered with 404."""

    methods: tuple[Route, ...]
    internal: tuple[str, ...]
    """Paths that are refused by name, so that no later rule lets them through."""
    transcoded_services: tuple[str, ...]
    large_bodies: tuple[LargeBody, ...]
    large_paths: str
    """RE2 of the paths with query of all that take a large body."""
    plain: tuple[Plain, ...]
    contradictions: str
    """RE2 of the paths with query whose query names a variable of the path, which it would override."""
    verbs: tuple[tuple[str, str], ...]
    """Each verb of REST with the RE2 of all paths that take it."""
    particular_refusals: tuple[Refusal, ...]
    """Of paths that have another's shape too, as `/posts/{id}:like` has that of `/posts/{id}`: to be asked first."""
    refusals: tuple[Refusal, ...]
    """Of all other paths: to be asked after `verbs`."""
    credential_paths: str
    """RE2 of the paths, REST and native, that take no credential and change something."""


def derive(
    contracts: Contracts,
    large_body_methods: Iterable[str],
    long_methods: Iterable[str] = (),
    plain_areas: Iterable[str] = (),
) -> Routes:
    """Routes of all services. ContractError names a service without a cluster, or a large or long method that does not
    exist. plain_areas: whose methods of raw bodies are called over plain HTTP."""
    known = {method.path: method for method in contracts.methods}
    large_body_methods = tuple(large_body_methods)
    for setting, paths in (("large_body_methods", large_body_methods), ("long_methods", long_methods)):
        for path in paths:
            if path not in known:
                raise ContractError(f"{setting} names {path}, which is not a method; `promptmesh.…Service/Method`.")
    methods = []
    for service in contracts.services:
        open_methods = [method for method in service.methods if not method.internal]
        if open_methods and service.area not in AREAS:
            raise ContractError(
                f"{service.full_name} is open to callers, but no cluster serves {service.area!r}: {AREAS}."
            )
        methods += [
            Route(
                method.path,
                service.area,
                method.server_streaming or method.client_streaming,
                READ_RETRY_ON if method.safe else WRITE_RETRY_ON,
                quiet=(method.raw and method.server_streaming) or method.path in long_methods,
            )
            for method in open_methods
        ]
    methods += [Route(path, COMMON_SERVICES_AREA, stream, READ_RETRY_ON) for path, stream in COMMON_METHODS]
    particular, others = _refusals(contracts.methods)
    return Routes(
        methods=tuple(methods),
        internal=tuple(method.path for method in contracts.methods if method.internal),
        transcoded_services=tuple(service.full_name for service in contracts.services if service.transcoded),
        large_bodies=tuple(
            LargeBody(binding.verb, binding.regex)
            for path in large_body_methods
            for binding in known[path].bindings
            if binding.body
        ),
        large_paths=_large_paths(known[path] for path in large_body_methods),
        plain=tuple(
            Plain(method.plain_path, plain_cluster(service.area), method.path in large_body_methods)
            for service in contracts.services
            if service.area in plain_areas
            for method in service.methods
            if method.plain_path and not method.internal
        ),
        contradictions=_contradictions(contracts),
        verbs=_verbs(contracts.methods),
        particular_refusals=particular,
        refusals=others,
        credential_paths=_credential_paths(contracts.methods),
    )


def _large_paths(methods: Iterable[Method]) -> str:
    regexes = dict.fromkeys(binding.regex for method in methods for binding in method.bindings if binding.body)
    return f"(?:{'|'.join(regexes)})(?:\\?.*)?" if regexes else "/$^"


def plain_cluster(area: str) -> str:
    """Name of the cluster of a service's plain HTTP."""
    return f"{area}_http"


def _contradictions(contracts: Contracts) -> str:
    # The transcoder decodes names too, and no client of ours encodes one: an encoded name could be any name.
    encoded = "[^=&]*%[^=&]*"
    ways = dict.fromkeys(
        binding.regex
        + rf"\?(?:.*&)?(?:{'|'.join(map(re.escape, contracts.spellings(method.input_type, variable)))}|{encoded})"
        for method in contracts.methods
        for binding in method.bindings
        for variable in binding.variables
    )
    return f"(?:{'|'.join(ways)})(?:[=&].*)?"


def _verbs(methods: Sequence[Method]) -> tuple[tuple[str, str], ...]:
    taken: dict[str, dict[str, None]] = {}
    for method in methods:
        for binding in method.bindings:
            taken.setdefault(binding.verb, {})[binding.regex] = None
    return tuple((verb, f"(?:{'|'.join(regexes)})") for verb, regexes in sorted(taken.items()))


def _refusals(methods: Sequence[Method]) -> tuple[tuple[Refusal, ...], tuple[Refusal, ...]]:
    verbs: dict[str, set[str]] = {}
    examples: dict[str, str] = {}
    for method in methods:
        for binding in method.bindings:
            verbs.setdefault(binding.regex, set()).add(binding.verb)
            examples[binding.regex] = re.sub(r"\{[^}]*\}", "x", binding.path)
    particular: dict[tuple[str, ...], list[str]] = {}
    others: dict[tuple[str, ...], list[str]] = {}
    for regex, taken in sorted(verbs.items()):
        contained = any(other != regex and re.fullmatch(other, examples[regex]) for other in verbs)
        (particular if contained else others).setdefault(tuple(sorted(taken)), []).append(regex)
    return _refusals_of(particular), _refusals_of(others)


def _refusals_of(regexes: Mapping[tuple[str, ...], Sequence[str]]) -> tuple[Refusal, ...]:
    return tuple(Refusal(f"(?:{'|'.join(found)})", verbs) for verbs, found in regexes.items())


def _credential_paths(methods: Sequence[Method]) -> str:
    guarded = [method for method in methods if method.public and not method.safe]
    bindings: list[Binding] = [binding for method in guarded for binding in method.bindings]
    natives = [Binding("POST", method.path, "*") for method in guarded]
    return f"^(?:{'|'.join(each.regex for each in (*bindings, *natives))})(?:\\?.*)?$"
