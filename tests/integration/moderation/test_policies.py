"""The policy as numbered snapshots."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from services.mesh.database import Database
from services.mesh.errors import MeshError
from services.moderation.policies import Policies
from services.moderation.screening.result import Text, Verdict
from services.moderation.screening.screener import default_policy

AUTHOR = "018f0000-0000-7000-8000-000000000001"
OWN = """
version: own
rules:
  - name: no-lighthouses
    category: spam
    severity: 0.5
    action: reject
    words: [lighthouse]
    message: No lighthouses here.
"""


async def verdict(policies: Policies, text: str) -> Verdict:
    (result,) = await policies.screen([Text(text)])
    return result.verdict


async def test_the_first_start_takes_the_policy_of_the_release(policies: Policies) -> None:
    assert policies.present.version == 1
    assert policies.present.author_id == ""
    assert policies.present.yaml == default_policy()


async def test_a_policy_applied_is_in_force_and_kept(database: Database, policies: Policies) -> None:
    applied = await policies.apply(OWN, author_id=AUTHOR, validate_only=False)
    assert (applied.version, applied.author_id) == (2, AUTHOR)
    assert await verdict(policies, "a lighthouse") is Verdict.REJECT
    assert (await Policies.open(database, None)).present == applied


async def test_the_same_policy_again_is_the_same_version(policies: Policies) -> None:
    first = await policies.apply(OWN, author_id=AUTHOR, validate_only=False)
    assert await policies.apply(OWN, author_id=AUTHOR, validate_only=False) == first


async def test_validating_changes_nothing(policies: Policies) -> None:
    would_be = await policies.apply(OWN, author_id=AUTHOR, validate_only=True)
    assert would_be.version == 2
    assert policies.present.version == 1
    assert await verdict(policies, "a lighthouse") is Verdict.ALLOW


async def test_a_faulty_policy_is_refused_with_every_fault(policies: Policies) -> None:
    faulty = OWN.replace("severity: 0.5", "severity: 7").replace("action: reject", "action: shout")
    with pytest.raises(MeshError) as caught:
        await policies.apply(faulty, author_id=AUTHOR, validate_only=False)
    assert caught.value.reason == "POLICY_INVALID"
    told = "\n".join(violation.description for violation in caught.value.violations)
    assert "severity" in told
    assert "action" in told
    assert policies.present.version == 1


async def test_other_processes_follow(database: Database, policies: Policies) -> None:
    other = await Policies.open(database, None)
    following = asyncio.create_task(other.follow(0.01))
    await policies.apply(OWN, author_id=AUTHOR, validate_only=False)
    async with asyncio.timeout(10):
        while other.present.version != 2:
            await asyncio.sleep(0.01)
    following.cancel()
    assert await verdict(other, "a lighthouse") is Verdict.REJECT


async def test_a_newer_release_brings_its_policy_unless_an_operator_chose(
    database: Database, policies: Policies, tmp_path: Path
) -> None:
    newer = tmp_path / "policy.yaml"
    newer.write_text(OWN)
    assert (await Policies.open(database, newer)).present.version == 2
    theirs = await (await Policies.open(database, newer)).apply(
        OWN.replace("lighthouse]", "keeper]"), author_id=AUTHOR, validate_only=False
    )
    assert (await Policies.open(database, None)).present == theirs
