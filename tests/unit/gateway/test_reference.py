"""The reference page: self-contained, whole, and allowed by the policy that it is served under."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

import pytest

from gateway import contracts, openapi, reference
from gateway.static import inline_policy


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return openapi.document(contracts.load(with_comments=True))


@pytest.fixture(scope="module")
def page(document: dict[str, Any]) -> str:
    return reference.page(document)


class _Elements(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_every_method_stands_on_it_with_its_command(page: str, document: dict[str, Any]) -> None:
    articles = {attributes["id"] for tag, attributes in _Elements(page).found if tag == "article"}

    assert articles == {
        operation["operationId"] for verbs in document["paths"].values() for operation in verbs.values()
    }
    assert page.count("<pre><code>") >= len(articles)


def test_it_loads_nothing_from_elsewhere(page: str) -> None:
    for tag, attributes in _Elements(page).found:
        assert tag not in ("img", "iframe", "object")
        for name in ("src", "href"):
            value = attributes.get(name) or ""
            assert not re.match(r"(\w+:)?//", value), (tag, value)
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)


def test_every_link_within_leads_somewhere(page: str) -> None:
    elements = _Elements(page).found
    ids = [attributes["id"] for _, attributes in elements if "id" in attributes]
    links = {href[1:] for _, attributes in elements if (href := attributes.get("href") or "").startswith("#")}

    assert len(ids) == len(set(ids))
    assert links <= set(ids)


def test_its_style_and_script_are_allowed_by_hash_alone(page: str) -> None:
    policy = inline_policy(page.encode())

    assert "default-src 'none'" in policy
    assert re.search(r"style-src 'sha256-[^']+'", policy)
    assert re.search(r"script-src 'sha256-[^']+'", policy)
    assert "unsafe" not in policy


def test_words_of_the_contracts_cannot_become_markup(document: dict[str, Any]) -> None:
    info = {**document["info"], "summary": "<script>alert(1)</script>", "description": "`a<b`"}

    page = reference.page({**document, "info": info})

    assert "<script>alert" not in page
    assert "<code>a&lt;b</code>" in page
