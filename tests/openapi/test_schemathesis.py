"""Every operation of the document, asked through the real edge with what schemathesis makes up, good and bad.

Of schemathesis's checks all run but those of states (use_after_free, ensure_resource_availability: each request here
stands alone) and missing_required_header (there is none). A longer run: `make schemathesis`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import requests
import schemathesis
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import AcceptedNegativeData, RejectedPositiveData, ignored_auth

from gateway import contracts, openapi
from services.local.testing import LocalMesh
from tests.openapi.cases import coverage, free, operation_of, schema_of
from tests.openapi.conftest import Callers, There
from tests.openapi.judging import Contents, Contract, excused
from tests.openapi.knowing import name_what_is_there

pytestmark = pytest.mark.timeout(900)

DOCUMENT: dict[str, Any] = json.loads(openapi.DEFAULT_OUT.read_text())
OPERATIONS = {
    operation["operationId"]: operation for verbs in DOCUMENT["paths"].values() for operation in verbs.values()
}
# What ends the session or the person that asks, by what it does or by too many wrong proofs: each request has its own.
_ENDS_WHO_ASKS = frozenset(
    {
        "AuthService_DeleteSession",
        "AccountService_DeleteMe",
        "AccountService_ChangePassword",
        "AccountService_RevokeOtherSessions",
        "FactorService_ConfirmSession",
    }
)
_SHOWN_MAX = 5
_AS_OTHERS_MAX = 2
_GOOD, _BAD = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE


@pytest.fixture(scope="module")
def schema() -> Any:
    return schema_of(DOCUMENT)


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract(contracts.load())


@pytest.fixture(scope="module")
def session() -> Iterator[requests.Session]:
    with requests.Session() as opened:
        yield opened


class Judge:
    """Sends requests as somebody and collects what is wrong with their answers."""

    def __init__(self, mesh: LocalMesh, session: requests.Session, contract: Contract, there: There) -> None:
        self.mesh, self.session, self.contract, self.there = mesh, session, contract, there
        self.contents = Contents(DOCUMENT)
        self.wrong: list[str] = []
        self.statuses: dict[int, int] = {}
        self.guarded = False

    def send(self, case: schemathesis.Case, token: str) -> schemathesis.Response:
        """One request, its answer judged by all checks."""
        operation = case.operation.definition.raw
        if case.meta is None or case.meta.generation.mode is _GOOD:
            name_what_is_there(case, self.there)
        headers = {"authorization": f"Bearer {token}"} if token else {}
        answer = case.call(base_url=self.mesh.url, session=self.session, headers=headers)
        self.statuses[answer.status_code] = self.statuses.get(answer.status_code, 0) + 1
        found: list[Exception] = []
        try:
            # It asks again without a credential, and with a wrong one: once for each operation is enough.
            case.validate_response(answer, headers=headers, excluded_checks=[ignored_auth] if self.guarded else [])
            self.guarded = self.guarded or answer.status_code == 200
        except FailureGroup as group:
            found += [fault for fault in group.exceptions if not self._may_be(fault, case, answer)]
        try:
            self.contents.check(operation, answer)
        except (ValueError, AssertionError) as error:
            found.append(error)
        self.wrong += [
            f"{type(fault).__name__}: {fault}\n{case.as_curl_command()[:2000]}\n"
            f"{answer.status_code} {answer.content[:1000]!r}"
            for fault in found
        ]
        return answer

    def _may_be(self, fault: Failure | Exception, case: schemathesis.Case, answer: schemathesis.Response) -> bool:
        if isinstance(fault, AcceptedNegativeData):
            return self.contract.takes(case)
        return isinstance(fault, RejectedPositiveData) and excused(case, answer)

    def done(self) -> None:
        """Fails with what was wrong, if anything was."""
        assert not self.wrong, f"{len(self.wrong)} answers are wrong:\n\n" + "\n\n".join(self.wrong[:_SHOWN_MAX])


@pytest.fixture
def judge(mesh: LocalMesh, session: requests.Session, contract: Contract, there: There) -> Judge:
    return Judge(mesh, session, contract, there)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_answer_is_one_of_the_document(
    schema: Any, judge: Judge, callers: Callers, newcomer: Callable[[], str], name: str
) -> None:
    operation = operation_of(schema, name)
    for case in (*coverage(operation), *free(operation, _GOOD), *free(operation, _BAD)):
        judge.send(case, newcomer() if name in _ENDS_WHO_ASKS else callers.admin)
    judge.done()
    assert judge.statuses


@pytest.mark.parametrize("name", OPERATIONS)
def test_who_may_call_is_who_the_document_says(
    schema: Any, judge: Judge, callers: Callers, newcomer: Callable[[], str], name: str
) -> None:
    operation, said = operation_of(schema, name), OPERATIONS[name]
    ways = said["security"]
    good = [case for case in islice(coverage(operation), 30) if case.meta.generation.mode is _GOOD][:_AS_OTHERS_MAX]
    for case in (*good, *free(operation, _BAD, 1)):
        is_good = case.meta.generation.mode is _GOOD
        for who, way in (("", None), (callers.user, "session"), (callers.key, "apiKey")):
            answer = judge.send(case, newcomer() if name in _ENDS_WHO_ASKS and way == "session" else who)
            if not is_good:
                continue
            anyone = {} in ways
            may = anyone or any(way in each for each in ways)
            lacks_role = way is not None and bool(said["x-access"]["roles"])
            refused = {401} if way is None else {403}
            denied = answer.status_code in refused and b"NOT_OWNER" not in answer.content
            # A log-in elsewhere is bound to the page that begins it: refused is the page, not who asks.
            denied = denied and not (name.startswith("FederationService_") and b"CSRF_REFUSED" in answer.content)
            assert denied == (not may or lacks_role) or _is_log_in(name, answer), (
                way,
                case.as_curl_command(),
                answer.content,
            )
    judge.done()


def _is_log_in(name: str, answer: schemathesis.Response) -> bool:
    return name in ("AuthService_CreateSession", "AuthService_RefreshSession") and answer.status_code == 401
