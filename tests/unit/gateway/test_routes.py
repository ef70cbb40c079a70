"""What the edge lets through, derived from the contracts."""

from __future__ import annotations

import re

import pytest
from promptmesh.access.v1 import access_pb2

from gateway import contracts, routes
from gateway.contracts import ContractError
from gateway.routes import COMMON_METHODS, READ_RETRY_ON, Routes
from gateway.settings import EdgeSettings


@pytest.fixture(scope="module")
def read() -> contracts.Contracts:
    return contracts.load()


@pytest.fixture(scope="module")
def derived(read: contracts.Contracts) -> Routes:
    return routes.derive(read, EdgeSettings.model_fields["large_body_methods"].get_default(call_default_factory=True))


def test_every_open_method_is_routed_to_its_service_and_no_internal_one(
    read: contracts.Contracts, derived: Routes
) -> None:
    clusters = {route.path: route.cluster for route in derived.methods}
    common = {path for path, _ in COMMON_METHODS}

    for method in read.methods:
        if method.access.audience == access_pb2.AUDIENCE_SERVICE:
            assert method.path not in clusters
            assert method.path in derived.internal
        else:
            assert clusters[method.path] == method.service.split(".")[1]
    assert set(clusters) - {method.path for method in read.methods} == common


def test_every_service_with_a_rest_binding_is_transcoded(read: contracts.Contracts, derived: Routes) -> None:
    bound = {method.service for method in read.methods if method.bindings}

    assert set(derived.transcoded_services) == bound
    assert "promptmesh.events.v1.EventSourceService" not in derived.transcoded_services


def test_streams_and_only_streams_are_unbounded(read: contracts.Contracts, derived: Routes) -> None:
    streams = {route.path for route in derived.methods if route.stream} - {path for path, _ in COMMON_METHODS}

    assert streams == {method.path for method in read.methods if method.server_streaming and not method.internal}


def test_only_reads_are_asked_again_after_they_may_have_arrived(read: contracts.Contracts, derived: Routes) -> None:
    retried = {route.path for route in derived.methods if route.retry_on == READ_RETRY_ON}
    writes = {method.path for method in read.methods if any(binding.verb != "GET" for binding in method.bindings)}

    assert "/promptmesh.prompts.v1.PostService/GetPost" in retried
    assert not retried & writes


@pytest.mark.parametrize("path", ["/api/v1/users", "/api/v1/sessions", "/api/v1/sessions:refresh?x=1"])
def test_what_takes_passwords_and_tokens_is_guarded_more_tightly(derived: Routes, path: str) -> None:
    assert re.fullmatch(derived.credential_paths, path)


@pytest.mark.parametrize(
    "path", ["/api/v1/posts", "/api/v1/users/me", "/.well-known/jwks.json", "/api/v1/sessions/current"]
)
def test_the_rest_is_not(derived: Routes, path: str) -> None:
    assert not re.fullmatch(derived.credential_paths, path)


@pytest.mark.parametrize(
    ("path", "refused"),
    [
        ("/api/v1/posts/a?post_id=b", True),
        ("/api/v1/posts/a?x=1&postId=b", True),
        ("/api/v1/posts/a?post.post_id=b", True),
        ("/api/v1/posts/a:watch?post%5Fid=b", True),
        ("/v1/models/a/b?model=c", True),
        ("/api/v1/posts/a:watch?after=1", False),
        ("/api/v1/posts/a?updateMask=title%2Cbody", False),
        ("/api/v1/posts?tag=post_id", False),
        ("/api/v1/posts?author_id=b", False),
    ],
)
def test_a_query_cannot_say_again_what_the_path_says(derived: Routes, path: str, refused: bool) -> None:
    assert bool(re.fullmatch(derived.contradictions, path)) is refused


def test_a_long_method_that_does_not_exist_is_refused(read: contracts.Contracts) -> None:
    with pytest.raises(ContractError, match=r"long_methods names .*Nope"):
        routes.derive(read, [], ["/promptmesh.prompts.v1.PostService/Nope"])


def test_a_large_method_that_does_not_exist_is_refused(read: contracts.Contracts) -> None:
    with pytest.raises(ContractError, match=r"large_body_methods names .*Nope"):
        routes.derive(read, ["/promptmesh.prompts.v1.PostService/Nope"])
