"""Recovery codes: enough of them, hard to guess, easy to type."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from services.auth.factors.recovery import RecoveryDigests, new_codes, normal

DIGESTS = RecoveryDigests(bytes(32))


def test_ten_codes_of_eighty_bits() -> None:
    codes = new_codes()
    assert len(set(codes)) == 10
    assert all(re.fullmatch(r"[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){3}", one) for one in codes)
    assert len({digit for code in new_codes() + new_codes() for digit in code if digit != "-"}) > 20


@given(st.sampled_from(new_codes()), st.data())
def test_however_it_is_typed(code: str, data: st.DataObject) -> None:
    typed = "".join(
        data.draw(st.sampled_from([one, one.lower(), f" {one}", f"-{one}"]), label="as typed") for one in code
    )
    typed = typed.replace("0", data.draw(st.sampled_from("0Oo"))).replace("1", data.draw(st.sampled_from("1IiLl")))
    assert DIGESTS.of("u", typed) == DIGESTS.of("u", code)


def test_digests_are_of_one_person_and_one_mesh() -> None:
    [code, *_] = new_codes()
    assert DIGESTS.of("u", code) != DIGESTS.of("v", code)
    assert DIGESTS.of("u", code) != RecoveryDigests(b"x" * 32).of("u", code)
    assert code.replace("-", "").encode() not in DIGESTS.of("u", code)


@given(st.text(max_size=64))
def test_any_text_can_be_asked_for(code: str) -> None:
    try:
        code.encode()
    except UnicodeEncodeError:
        return
    assert normal(normal(code)) == normal(normal(normal(code)))
    assert len(DIGESTS.of("u", code)) == 32
