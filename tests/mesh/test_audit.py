"""The audit trail of a whole mesh: acts of every service come into it, are found, exported and verified."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid

import pytest

from services.local.testing import LocalMesh
from tests.mesh.client import Answer, Json, eventually
from tests.mesh.conftest import NewPerson
from tests.mesh.errors import fault_of
from tests.mesh.people import DOUBTFUL, Person, cases_of

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

RECORDS = "/api/v1/auditRecords"


async def record_of(admin: Person, subject_id: str, action: str) -> Json:
    """The record of an act once the trail has it."""
    found: list[Json] = []

    async def there() -> bool:
        page = (await admin.ask("GET", f"{RECORDS}?subjectId={subject_id}&action={action}")).ok()
        found[:] = page.get("records", [])
        return bool(found)

    await eventually(f"{action} is in the trail", there)
    return found[0]


async def verified(admin: Person, **expected: object) -> Json:
    return dict((await admin.ask("POST", f"{RECORDS}:verify", expected)).ok())


async def test_acts_of_every_service_come_into_the_trail(admin: Person, someone: Person) -> None:
    post = await someone.post(DOUBTFUL)
    await someone.settled(post["postId"], "HELD")
    (case, *_) = await cases_of(admin, post["postId"])
    decision = {"decision": "VERDICT_REJECT", "note": "an attack"}
    (await admin.ask("POST", f"/api/v1/moderation/cases/{case['caseId']}:resolve", decision)).ok()
    secret = f"sk-{uuid.uuid4().hex}"
    key = (await admin.ask("POST", "/api/v1/providerKeys", {"provider": "examples", "secret": secret})).ok()
    (await admin.ask("DELETE", f"/api/v1/providerKeys/{key['providerKeyId']}")).ok()

    resolved = await record_of(admin, case["caseId"], "case.resolve")
    created = await record_of(admin, key["providerKeyId"], "provider_key.create")
    deleted = await record_of(admin, key["providerKeyId"], "provider_key.delete")

    assert resolved["actor"] == {"kind": "user", "id": admin.user_id, "name": resolved["actor"]["name"]}
    assert (resolved["reason"], resolved["succeeded"], resolved["address"]) == ("an attack", True, "127.0.0.1")
    assert json.loads(resolved["change"])["after"]["decision"] == "REJECT"
    assert resolved["requestId"]
    assert created["actTime"] < deleted["actTime"]  # the sequence is that of arrival
    both = (await admin.ask("GET", f"{RECORDS}?subjectId={key['providerKeyId']}&action=provider_key.*")).ok()
    assert {one["action"] for one in both["records"]} == {"provider_key.create", "provider_key.delete"}
    assert secret not in json.dumps([created, deleted])


async def test_pages_go_on_where_they_ended_and_only_there(admin: Person) -> None:
    for _ in range(3):
        subject_id = str(uuid.uuid4())
        path = f"/api/v1/limits/LIMIT_KIND_USER/{subject_id}"
        (await admin.ask("PUT", path, {"requestsPerDay": "7"})).ok()
        await record_of(admin, subject_id, "limits.set")

    first = (await admin.ask("GET", f"{RECORDS}?pageSize=2&action=limits.*")).ok()
    rest = (await admin.ask("GET", f"{RECORDS}?pageSize=2&action=limits.*&pageToken={first['nextPageToken']}")).ok()
    other = await admin.ask("GET", f"{RECORDS}?pageSize=2&pageToken={first['nextPageToken']}")

    sequences = [int(one["sequence"]) for one in [*first["records"], *rest["records"]]]
    assert sequences == sorted(set(sequences), reverse=True)
    assert len(sequences) >= 3
    assert fault_of(other).reason == "PAGE_TOKEN_INVALID"


async def test_nobody_else_reads_the_trail(someone: Person) -> None:
    asked: list[Answer] = [
        await someone.ask("GET", RECORDS),
        await someone.ask("GET", f"{RECORDS}:export"),
        await someone.ask("POST", f"{RECORDS}:verify", {}),
    ]

    assert {fault_of(answer).brief for answer in asked} == {("PERMISSION_DENIED", "ROLE_MISSING")}


async def test_an_export_is_whole_and_says_so(mesh: LocalMesh, admin: Person) -> None:
    fresh = mesh.admin_email, mesh.admin_password
    session = (await admin.client.ask("POST", "/api/v1/sessions", {"email": fresh[0], "password": fresh[1]})).ok()
    me = Person(admin.client, session["user"]["userId"], fresh[0], session["accessToken"])
    before = await verified(me)
    answer = await me.ask("GET", f"{RECORDS}:export")

    assert answer.headers["content-type"] == "application/x-ndjson"
    *lines, last = [json.loads(line) for line in answer.body.splitlines()]
    assert [int(line["sequence"]) for line in lines] == list(range(1, len(lines) + 1))
    assert last["done"]["records"] == last["done"]["headSequence"] == str(len(lines))
    assert last["done"]["head"] == lines[-1]["hash"]
    assert len(lines) >= int(before["records"])
    assert (await verified(me, expectedSequence=str(len(lines)), expectedHash=lines[-1]["hash"]))["holds"]
    await record_of(me, "", "audit.export")


async def test_what_was_kept_is_found_or_told(admin: Person) -> None:
    now = await verified(admin)
    other = await verified(admin, expectedHash="0" * 64, expectedSequence="1")
    ahead = await verified(admin, expectedHash=now["head"], expectedSequence="1000000000")
    alone = fault_of(await admin.ask("POST", f"{RECORDS}:verify", {"expectedSequence": "1"}))

    assert now["holds"]
    assert (await verified(admin, expectedHash=now["head"]))["holds"]
    assert (other["holds"], other["brokenSequence"]) == (False, "1")
    assert (ahead["holds"], "cut off" in ahead["fault"]) == (False, True)
    assert alone.reason == "INVALID_FIELD"


async def promptmesh(mesh: LocalMesh, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "services.local", *arguments, "--data", str(mesh.data)]
    return await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=120, check=False)


async def test_the_command(mesh: LocalMesh, admin: Person) -> None:
    listed = await promptmesh(mesh, "audit", "list", "--json", "--limit", "1")
    [newest] = json.loads(listed.stdout)["records"]
    holds = await promptmesh(mesh, "audit", "verify", "--expect", f"{newest['sequence']}:{newest['hash']}")
    broken = await promptmesh(mesh, "audit", "verify", "--expect", f"1:{'0' * 64}")
    wrong = await promptmesh(mesh, "audit", "verify", "--expect", "the last one")
    file = mesh.data / "trail.jsonl"
    exported = await promptmesh(mesh, "audit", "export", str(file))

    assert (holds.returncode, "The trail holds" in holds.stdout) == (0, True), holds.stderr
    assert (broken.returncode, "does not hold at record 1" in broken.stderr) == (1, True), broken.stderr
    assert wrong.returncode == 2
    assert exported.returncode == 0, exported.stderr
    assert file.read_text().splitlines()[-1].startswith('{"done":')


async def test_who_is_deleted_is_gone_from_the_trail_and_the_chain_holds(admin: Person, new_person: NewPerson) -> None:
    person = await new_person()
    path = f"/api/v1/limits/LIMIT_KIND_USER/{person.user_id}"
    (await admin.ask("PUT", path, {"requestsPerDay": "7"})).ok()
    told = await record_of(admin, person.user_id, "limits.set")
    assert (told["erased"], "requests_per_day" in told["change"]) == (False, True)

    (await person.ask("DELETE", "/api/v1/users/me")).ok()

    async def erased() -> bool:
        return bool((await record_of(admin, person.user_id, "limits.set"))["erased"])

    await eventually("what names them is unreadable", erased)
    left = await record_of(admin, person.user_id, "limits.set")
    assert (left["change"], left["subject"]["name"], left["hash"]) == ("", "", told["hash"])
    assert left["actor"]["id"] == admin.user_id
    deleted = await record_of(admin, person.user_id, "user.delete")
    assert (deleted["erased"], deleted["actor"]["name"], deleted["address"]) == (True, "", "")
    assert (await verified(admin, expectedSequence=told["sequence"], expectedHash=told["hash"]))["holds"]
