"""Settings out of the environment: read, or refused in one line that names the variable and shows no secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbackend.config import ONLY, BadSetting, Settings, load

SECRET = "canary-s3cret"
VARIABLES = sorted(name.upper() for name in Settings.model_fields)
KEYS = [name for name in VARIABLES if name.endswith("_KEY")]


def refusal(**environment: str) -> str:
    with pytest.raises(BadSetting) as refused:
        load(environment)
    line = str(refused.value)
    assert "\n" not in line
    return line


def test_without_any_variable_there_are_defaults() -> None:
    found = load({})
    assert (found.chatbackend_host, found.chatbackend_port, found.chatbackend_data_dir) == (
        "127.0.0.1",
        8000,
        Path("data"),
    )
    assert found.endpoint("OPENAI") is None
    assert found.models("OPENAI") == []
    assert found.key(("CLAUDE_API_KEY", "ANTHROPIC_API_KEY")) == ""


def test_what_is_set_is_read_and_what_is_empty_is_not_set() -> None:
    found = load(
        {
            "CHATBACKEND_PORT": "9000",
            "CHATBACKEND_DATA_DIR": "",
            "CHATBACKEND_ALLOWED_ORIGINS": "https://a.example, https://b.example/,",
            "OPENAI_ENDPOINT": "http://127.0.0.1:1234/v1",
            "OPENAI_MODELS": "gpt-a, gpt-b",
            "OPENAI_API_KEY": "sk-x",
            "PATH": "/bin",
        }
    )
    assert (found.chatbackend_port, found.chatbackend_data_dir) == (9000, Path("data"))
    assert found.chatbackend_allowed_origins == ["https://a.example", "https://b.example/"]
    assert (found.endpoint("OPENAI"), found.models("OPENAI")) == ("http://127.0.0.1:1234/v1", ["gpt-a", "gpt-b"])
    assert found.key(("OPENAI_API_KEY",)) == "sk-x"


def test_of_two_keys_the_first_that_is_set_counts() -> None:
    names = ("CLAUDE_API_KEY", "ANTHROPIC_API_KEY")
    assert load({"ANTHROPIC_API_KEY": "second"}).key(names) == "second"
    assert load({"CLAUDE_API_KEY": "first", "ANTHROPIC_API_KEY": "second"}).key(names) == "first"


BAD = [
    ("CHATBACKEND_PORT", "web", "integer"),
    ("CHATBACKEND_PORT", "-1", "0"),
    ("CHATBACKEND_PORT", "65536", "65535"),
    ("CHATBACKEND_MAX_BODY_BYTES", "10", "1024"),
    ("CHATBACKEND_MAX_FILE_BYTES", "many", "integer"),
    ("CHATBACKEND_MAX_RUNNING", "0", "1"),
    ("CHATBACKEND_RESPONSE_DEADLINE_S", "0", "greater than 0"),
    ("CHATBACKEND_RESPONSE_DEADLINE_S", "nan", "nan"),
    ("CHATBACKEND_DRAIN_S", "16", "15"),
    ("CHATBACKEND_DRAIN_S", "-1", "0"),
    ("CHATBACKEND_LOG_LEVEL", "verbose", "info"),
    ("CHATBACKEND_ALLOWED_ORIGINS", "app.example.com", "https://app.example.com"),
    ("OPENAI_ENDPOINT", "api.openai.com", "https://"),
    ("OPENAI_ENDPOINT", "http://", "https://"),
    ("OPENAI_ENDPOINT", "http://[::1", "IPv6"),
    ("CLAUDE_ENDPOINT", "http://x:0", "port"),
    ("LLAMA31_ENDPOINT", "http://x:99999", "Port"),
    ("CHATBACKEND_BOOTSTRAP_KEY", "short", "8 characters"),
    ("OPENAI_TRANSPORT", "websockets", "'websocket'"),
]


@pytest.mark.parametrize(("name", "value", "mend"), BAD)
def test_a_bad_value_is_named_and_mended_in_one_line(name: str, value: str, mend: str) -> None:
    line = refusal(**{name: value})
    assert line.startswith(name)
    assert mend in line


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("wrong", [f"{SECRET}\n", f" {SECRET}", f"{SECRET} x", f"{SECRET}\u00e9"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(name: str, wrong: str) -> None:
    line = refusal(**{name: wrong})
    assert line.startswith(name)
    assert SECRET not in line


@pytest.mark.parametrize("url", [f"http://user:{SECRET}@host", f"redis://:{SECRET}@host:0", f"redis://{SECRET}:x"])
def test_an_address_that_is_no_redis_is_refused_without_being_shown(url: str) -> None:
    line = refusal(REDIS_URL=url, DATABASE_URL="postgresql://localhost/chat")
    assert line.startswith("REDIS_URL")
    assert SECRET not in line


def test_a_redis_without_a_postgresql_is_refused() -> None:
    line = refusal(REDIS_URL=f"redis://:{SECRET}@host")
    assert "DATABASE_URL is not" in line
    assert SECRET not in line
    settings = load({"REDIS_URL": "rediss://:x@host/1", "DATABASE_URL": "postgresql://localhost/chat"})
    assert settings.redis() == "rediss://:x@host/1"


@pytest.mark.parametrize("variable", ["OPENAI", "AZURE_OPENAI"])
def test_sockets_are_for_the_responses_api_only(variable: str) -> None:
    sockets = {f"{variable}_TRANSPORT": "websocket"}
    assert f"{variable}_API=responses" in refusal(**sockets)
    assert load(sockets | {f"{variable}_API": "responses"}).over_sockets(variable)
    assert not load({f"{variable}_API": "responses"}).over_sockets(variable)


@pytest.mark.parametrize(("name", "scheme"), sorted(ONLY.items()))
def test_what_this_release_does_not_know_is_refused_with_what_it_knows(name: str, scheme: str) -> None:
    line = refusal(**{name: f"other://user:{SECRET}@host"})
    assert line.startswith(name)
    assert scheme in line
    assert SECRET not in line
    load({name: scheme})


def test_credentials_in_an_address_are_refused_and_not_shown() -> None:
    line = refusal(OPENAI_ENDPOINT=f"https://me:{SECRET}@api.openai.com")
    assert "_API_KEY" in line
    assert SECRET not in line


@given(st.sampled_from(VARIABLES), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=12))
def test_any_value_is_read_or_refused_in_one_line_that_names_its_variable(name: str, value: str) -> None:
    try:
        load({name: value})
    except BadSetting as refused:
        line = str(refused)
        assert line.startswith(name)
        assert len(line.splitlines()) == 1
        if name in KEYS and len(value) > 3:
            assert value not in line


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://me:{SECRET}@db/chat",
        f"postgres://me:{SECRET}@a:5432,b:5433/chat?target_session_attrs=read-write",
        "postgresql:///chat?host=/var/run/postgresql",
    ],
)
def test_an_address_of_postgresql_is_taken_as_it_is_and_never_shown(url: str) -> None:
    settings = load({"DATABASE_URL": url})
    assert settings.postgres() == url
    assert SECRET not in repr(settings)


@pytest.mark.parametrize("url", [f"sqlite:///{SECRET}", f"postgresql://h:99999/x?password={SECRET}", f"//{SECRET}"])
def test_an_address_of_anything_else_is_refused_without_being_shown(url: str) -> None:
    line = refusal(DATABASE_URL=url)
    assert line.startswith("DATABASE_URL")
    assert SECRET not in line
