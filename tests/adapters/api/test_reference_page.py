"""`/docs` and `/llms.txt`: everything is there, nothing comes from elsewhere, and whatever is shown is escaped."""

import base64
import hashlib
import re
from html.parser import HTMLParser

from chatbackend.adapters.api import asyncapi, llms, openapi, reference_page
from chatbackend.adapters.api.openapi import Described
from chatbackend.adapters.api.operations import operations

VOID = frozenset(("meta",))


class Page(HTMLParser):
    """Checks that tags are closed in order; collects ids, links and sources."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        found = dict(attrs)
        self.ids += [value for value in [found.get("id")] if value]
        self.links += [value for value in [found.get("href"), found.get("src")] if value]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def page(*more: Described) -> str:
    routes = [Described(method, path, f"Do `{path}`.") for method, path in operations()]
    http = openapi.document([*routes, *more], version="1.2.3")
    return reference_page.page(http, asyncapi.document(version="1.2.3"))


def test_every_route_command_event_and_schema_is_shown() -> None:
    text = page()
    for _, path in operations():
        assert f"<code>{path}</code>" in text
    for name in (*asyncapi.commands(), *asyncapi.events(), *asyncapi.own_events(), *openapi.schemas()):
        assert f"<code>{name}</code>" in text


def test_the_page_is_well_formed_and_its_links_lead_somewhere_on_this_server() -> None:
    found = Page(page())
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    for link in found.links:
        assert link.removeprefix("#") in found.ids if link.startswith("#") else link.startswith("/")


def test_the_page_has_no_script_and_its_policy_allows_only_its_own_style() -> None:
    text = page()
    assert "script" not in Page(text).tags
    style = re.search("<style>(.*?)</style>", text, re.DOTALL)
    assert style is not None
    digest = base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode()
    assert reference_page.POLICY.startswith(f"default-src 'none'; style-src 'sha256-{digest}'")


def test_what_a_route_says_is_escaped() -> None:
    text = page(Described("GET", "/v1/<b>", "Say <script>alert(1)</script>."))
    assert "<script>" not in text
    assert "/v1/&lt;b&gt;" in text


def test_llms_txt_lists_every_route() -> None:
    text = llms.text([Described("GET", "/v1/a", "Do a."), Described("WEBSOCKET", "/v1/b", "Talk.")])
    assert text.startswith("# Chat Backend General\n\n> ")
    assert text.endswith("- `GET /v1/a`: Do a.\n- `WS /v1/b`: Talk.\n")
