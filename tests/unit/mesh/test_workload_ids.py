"""What an operator may write of workloads, and what a sidecar's header says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mesh.access.key_uses import KeyUses
from services.mesh.access.workloads import forwarded_id, networks_of, workloads_of
from services.mesh.call import CallerKind

ID = "spiffe://example.org/a"
U = "0190b5d0-0000-7000-8000-00000000000a"


def test_workloads_are_read() -> None:
    found = workloads_of(f" {ID}=service:prompts,spiffe://b/c/d=account:{U}@{U},")
    assert found[ID].kind is CallerKind.SERVICE
    assert found["spiffe://b/c/d"].user_id == U
    assert workloads_of("") == {}


@pytest.mark.parametrize(
    "wrong",
    [
        *("x", ID, f"{ID}=", f"{ID}=service:", f"{ID}=service:Prompts", f"{ID}=account:{U}", f"{ID}=account:x@y"),
        *("spiffe://a=service:b", "https://a/b=service:c", f"{ID}?q=service:b", f"{ID}=user:{U}@{U}"),
        f"{ID}=service:a,{ID}=service:b",
    ],
)
def test_what_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        workloads_of(wrong)


@pytest.mark.parametrize("wrong", ["x", "10.0.0.1/8", "10.0.0.0/33"])
def test_networks_of_the_edge(wrong: str) -> None:
    assert len(networks_of("10.0.0.0/8, ::1/128")) == 2
    with pytest.raises(ValueError, match=r".+"):
        networks_of(wrong)


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (f"URI={ID}", ID),
        (f'By=x;Hash=1;Subject="CN=a,O=b;c";URI={ID};DNS=a', ID),
        (f"URI=spiffe://other/x,URI={ID}", ID),
        (f'Subject="a\\",URI={ID},";URI=spiffe://b/c', "spiffe://b/c"),
        (f"URI={ID},By=x", None),
        (f"URI={ID};URI={ID}", None),
        *((one, None) for one in ("", ",", ";", '"', "URI", f'Subject="URI={ID}')),
    ],
)
def test_the_last_certificate_of_the_header_counts(header: str, found: str | None) -> None:
    assert forwarded_id(header) == found


@given(st.text(alphabet='UuRrIi=";,\\ab:/', max_size=60))
def test_no_header_breaks_the_reader(header: str) -> None:
    forwarded_id(header)


async def test_uses_are_told_once_and_again_after_a_failure() -> None:
    uses, told = KeyUses(keys_max=1500), list[int]()
    for number in range(2000):
        uses.note(str(number))
        uses.note(str(number))
    assert len(uses) == 1500

    async def report(ids: object) -> None:
        told.append(len(list(ids)))  # type: ignore[call-overload]

    async def away(_ids: object) -> None:
        raise OSError("away")

    await uses.report(away)
    assert len(uses) == 1500
    await uses.report(report)
    await uses.report(report)
    assert told == [1000, 500]
