"""The built-in families: where they are called, what they send to say who calls."""

import pytest

from chatbackend.adapters.providers.families.azure import AZURE
from chatbackend.adapters.providers.families.claude import CLAUDE
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.families.perplexity import PERPLEXITY
from chatbackend.adapters.providers.family import Address, Family

AT = "https://name.openai.azure.com"
DATED = "?api-version=2024-10-21"
CHAT, RESPONSES = "/chat/completions", "/responses"


@pytest.mark.parametrize("endpoint", [AT, f"{AT}/", f"{AT}/openai", f"{AT}/openai/v1", f"{AT}/openai/v1/"])
@pytest.mark.parametrize(
    ("version", "path", "expected"),
    [
        ("", CHAT, f"{AT}/openai/v1/chat/completions"),
        ("", RESPONSES, f"{AT}/openai/v1/responses"),
        ("2024-10-21", CHAT, f"{AT}/openai/deployments/my%20gpt/chat/completions{DATED}"),
        ("2024-10-21", RESPONSES, f"{AT}/openai/responses{DATED}"),
    ],
)
def test_an_azure_resource_is_called_by_its_version_however_much_was_written(
    *, endpoint: str, version: str, path: str, expected: str
) -> None:
    assert AZURE.url(Address(endpoint, "my gpt", version), path) == expected


def test_azure_behind_a_gateway_keeps_the_gateways_path() -> None:
    assert AZURE.url(Address("https://gate.example/azure/", "m"), CHAT) == "https://gate.example/azure" + (
        "/openai/v1/chat/completions"
    )


@pytest.mark.parametrize(
    ("family", "endpoint", "path", "expected"),
    [
        (PERPLEXITY, "https://api.perplexity.ai", CHAT, "https://api.perplexity.ai/chat/completions"),
        (PERPLEXITY, "https://api.perplexity.ai/", CHAT, "https://api.perplexity.ai/chat/completions"),
        (OPENAI, "https://api.openai.com", CHAT, "https://api.openai.com/v1/chat/completions"),
        (CLAUDE, "https://api.anthropic.com/v1", "/v1/messages", "https://api.anthropic.com/v1/messages"),
    ],
)
def test_other_families_are_called_below_their_address(family: Family, endpoint: str, path: str, expected: str) -> None:
    assert family.url(Address(endpoint, "m"), path) == expected


@pytest.mark.parametrize(
    ("family", "key", "headers"),
    [
        (AZURE, "k", {"api-key": "k"}),
        (AZURE, "", {}),
        (OPENAI, "k", {"authorization": "Bearer k"}),
        (OPENAI, "", {}),
        (PERPLEXITY, "k", {"authorization": "Bearer k"}),
        (CLAUDE, "k", {"x-api-key": "k"}),
    ],
)
def test_each_family_carries_its_key_in_its_own_header(family: Family, key: str, headers: dict[str, str]) -> None:
    assert family.authorise(key) == headers


def test_keys_come_from_the_usual_variables() -> None:
    assert AZURE.key_variables == ("AZURE_OPENAI_API_KEY",)
    assert CLAUDE.key_variables == ("CLAUDE_API_KEY", "ANTHROPIC_API_KEY")
