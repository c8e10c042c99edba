"""The TOML file: what it says becomes routes and rules; what it says wrongly is named with its place."""

import pytest

from chatbackend.adapters.settings_file import SettingsFile, read
from chatbackend.domain.routing import Breaker, Route, Rules, Target, Timeouts

WHOLE = b"""
[aliases]
fast = "openai/gpt-4o-mini"
best = "chat"

[defaults]
retries = 1
[defaults.timeouts]
connect_s = 2
first_token_s = 20

[routes.chat]
targets = [{model = "azure/gpt-4o", weight = 3}, "openai/gpt-4o"]
fallbacks = ["claude/sonnet"]
retries = 2
min_tokens_per_s = 2.5
on_cut = "continue"
[routes.chat.timeouts]
total_s = 60
[routes.chat.breaker]
failures = 3

[routes.alone]
targets = ["llama31/x"]

[routes.fearless]
targets = ["llama31/x", "llama31/y"]
breaker = false

[profiles."llama31/x"]
context_window = 8192

[prices."openai/gpt-4o"]
input = 2.5
"""


def test_a_file_is_read_whole() -> None:
    file = read(WHOLE)
    defaults = Rules(Timeouts(connect_s=2, first_token_s=20), retries=1)
    assert file.rules == defaults
    assert file.aliases == {"fast": "openai/gpt-4o-mini", "best": "chat"}
    assert file.profiles == {"llama31/x": {"context_window": 8192}}
    assert file.prices == {"openai/gpt-4o": {"input": 2.5}}
    chat, alone, fearless = file.routes
    assert chat == Route(
        "chat",
        ((Target("azure/gpt-4o", 3), Target("openai/gpt-4o")), (Target("claude/sonnet"),)),
        Rules(
            Timeouts(connect_s=2, first_token_s=20, total_s=60),
            retries=2,
            min_tokens_per_s=2.5,
            on_cut="continue",
            breaker=Breaker(failures=3),
        ),
    )
    assert alone == Route("alone", ((Target("llama31/x"),),), defaults)
    assert fearless.rules.breaker is None


def test_a_route_with_somebody_else_to_ask_has_a_breaker() -> None:
    assert read(b'[routes.r]\ntargets = ["a/b", "c/d"]').routes[0].rules.breaker == Breaker()


def test_an_empty_file_changes_nothing() -> None:
    assert read(b"") == SettingsFile(routes=[])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"[aliases", "aliases|Expected"),
        (b"\xff", "utf-8"),
        (b"[route.r]\ntargets = ['a/b']", "unknown field `route`"),
        (b"[routes.r]\ntargets = []", r"length >= 1 - at `\$.routes\[...\].targets`"),
        (b"[routes.r]\nfallbacks = ['a/b']", "required field `targets`"),
        (b"[routes.r]\ntargets = [{model = 'a', wait = 3}]", "unknown field `wait`"),
        (b"[routes.r]\ntargets = [{model = 'a', weight = -1}]", ">= 0"),
        (b"[routes.r]\ntargets = ['a/b']\nretries = 11", "<= 10"),
        (b"[routes.r]\ntargets = ['a/b']\non_cut = 'splice'", "on_cut"),
        (b"[routes.r]\ntargets = ['a/b']\nbreaker = true", "breaker"),
        (b"[defaults.timeouts]\ntotal_s = 0", "> 0"),
        (b"[routes.r]\ntargets = ['a/b']\nfallbacks = ['a/b']", "routes.r: 'a/b' is named twice"),
        (b"[aliases]\nr = 'x'\n[routes.r]\ntargets = ['a/b']", "aliases.r: a route has that name"),
        (b"[aliases]\na = 'b'\nb = 'c'", "aliases.a: 'b' is an alias itself"),
    ],
)
def test_a_mistake_is_named_with_its_place(text: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(text)
