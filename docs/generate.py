"""Writes `configuration.md` beside this file from the settings, and the tables of `providers.md` from the families.

Run `.venv/bin/python docs/generate.py`.
"""

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from pydantic.fields import FieldInfo

from chatbackend.adapters.providers.codec import Codec
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.config import ONLY, Settings
from chatbackend.domain.fitting import DROPPED
from chatbackend.domain.models import ModelProfile
from chatbackend.infra.registry import FAMILIES

TARGET = Path(__file__).with_name("configuration.md")
PROVIDERS = Path(__file__).with_name("providers.md")
BEGIN, END = (
    "<!-- Written by docs/generate.py from the families; a test holds them together. -->\n",
    "<!-- to here -->\n",
)
_OURS = ("chatbackend_", "database_", "redis_")
_UNITS = {"CHATBACKEND_MAX_BODY_BYTES": 2**20, "CHATBACKEND_MAX_FILE_BYTES": 2**20}
_HEAD = """\
# Configuration

<!-- Written by docs/generate.py from src/chatbackend/config.py; a test holds them together. -->

Settings are environment variables, read once at the start. Nothing needs to be set. An empty variable counts as not
set. A bad value stops the start with one line that names the variable, the value (never a secret) and the mend; an
unknown name is not looked at. Settings of a release to come stop the start too, so that nobody believes in a
database that is not used.

`chatbackend doctor` checks what is configured and says what to fix. `chatbackend serve --help` and `chatbackend
keys --help` show the commands.

## The server

"""
_MODELS = """
## Models

An endpoint that is set makes its models appear in `/v1/models` as `azure/...`, `openai/...`, `claude/...`,
`llama31/...` or `perplexity/...`; the bare name works where exactly one provider lists it. With `_MODELS` unset any
name behind the prefix is passed on, and none is listed. In a list, `name=model` says which model a name stands for.
What is known of models by their names, and what each provider takes, is in [providers](providers.md).

The built-in model `local` is always there: it needs no key, quotes sentences of the files that were asked for, and is
no language model. Nothing calls a provider at the start.

"""
_EXAMPLES = """
### Examples

OpenAI, asked for as `openai/gpt-5` or `gpt-5` (a bare host works too):

    OPENAI_ENDPOINT=https://api.openai.com/v1 OPENAI_API_KEY=sk-... OPENAI_MODELS=gpt-5 make run

Claude, asked for as `claude/claude-sonnet-4-5`:

    CLAUDE_ENDPOINT=https://api.anthropic.com CLAUDE_API_KEY=sk-ant-... CLAUDE_MODELS=claude-sonnet-4-5 make run

Llama 3.1 on Ollama, vLLM or llama.cpp on this machine; without `LLAMA31_MODELS` any name works, here
`llama31/llama3.1`:

    LLAMA31_ENDPOINT=http://127.0.0.1:11434/v1 make run

Azure OpenAI, asked for as `azure/chat`, where the deployment `chat` is a gpt-4o; without a key, tokens come from Entra
ID, by whatever `DefaultAzureCredential` finds:

    AZURE_OPENAI_ENDPOINT=https://NAME.openai.azure.com AZURE_OPENAI_API_KEY=... \\
    AZURE_OPENAI_DEPLOYMENTS=chat=gpt-4o make run

Perplexity, asked for as `perplexity/sonar`:

    PERPLEXITY_ENDPOINT=https://api.perplexity.ai PERPLEXITY_API_KEY=pplx-... PERPLEXITY_MODELS=sonar make run

Any other server that speaks Chat Completions (Groq, Mistral, DeepSeek, LM Studio...) goes into `OPENAI_ENDPOINT` or
`LLAMA31_ENDPOINT` in the same way. The two differ in facts about their models: `OPENAI_...` sends
`max_completion_tokens` and passes files on, `LLAMA31_...` sends `max_tokens`, turns uploaded files into text, and
refuses images.

## Not in this release

A set variable of these stops the start:

"""


def table(fields: Iterable[tuple[str, FieldInfo]]) -> str:
    """Return the rows of some settings."""
    rows = [f"| `{name.upper()}` | {_default(name, field)} | {field.description} |\n" for name, field in fields]
    return "| variable | default | what it is |\n|---|---|---|\n" + "".join(rows)


def configuration() -> str:
    """Return the whole page."""
    ours = [(name, field) for name, field in Settings.model_fields.items() if name.startswith(_OURS)]
    theirs = [(name, field) for name, field in Settings.model_fields.items() if not name.startswith(_OURS)]
    refused = "".join(f"- `{name}`, unless it begins with `{scheme}`.\n" for name, scheme in ONLY.items())
    return _HEAD + table(ours) + _MODELS + table(theirs) + _EXAMPLES + refused


def _default(name: str, field: FieldInfo) -> str:
    value: object = field.get_default(call_default_factory=True)
    if value is None or value in ("", []):
        return ""
    if name.upper() in _UNITS and isinstance(value, int):
        return f"`{value}` ({value // _UNITS[name.upper()]} MiB)"
    return f"`{value}`"


def columns() -> dict[str, Codec]:
    """Return what is compared: a family's usual dialect for a name that says nothing, and OpenAI's other one."""
    found = {family.name: family.codec_for("", family.profile) for family in FAMILIES}
    return found | {"openai (responses)": OPENAI.codec_for("responses", OPENAI.profile)}


def providers_table() -> str:
    """Return what each family takes."""
    codecs = columns()
    head = f"| asked for | {' | '.join(f'`{name}`' for name in codecs)} |\n|---|{'---|' * len(codecs)}\n"
    rows = {f"`{name}`": [_field(name, codec.profile) for codec in codecs.values()] for name in _FIELDS}
    rows |= {what: [say(codec.profile) for codec in codecs.values()] for what, say in _ABILITIES.items()}
    return head + "".join(f"| {what} | {' | '.join(cells)} |\n" for what, cells in rows.items())


def providers(written: str) -> str:
    """Return the page of the providers with its table made anew."""
    before, _, rest = written.partition(BEGIN)
    return before + BEGIN + "\n" + providers_table() + "\n" + END + rest.partition(END)[2]


def _field(name: str, profile: ModelProfile) -> str:
    if name not in profile.refuses:
        return "yes"
    return "dropped" if name in DROPPED else "refused"


_FIELDS = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "top_logprobs",
    "reasoning_effort",
    "reasoning_summary",
    "verbosity",
    "parallel_tool_calls",
    "user",
)
_ABILITIES: dict[str, Callable[[ModelProfile], str]] = {
    "function tools": lambda profile: "yes" if profile.accepts_tools else "refused",
    "images": lambda profile: "yes" if profile.accepts_images else "refused",
    "inline files": lambda profile: "yes" if profile.accepts_files else "refused",
    "JSON by a schema": lambda profile: profile.structured,
    "any JSON object": lambda profile: profile.structured if profile.accepts_json_object else "prompt",
    "the beginning of the answer": lambda profile: "yes" if profile.accepts_prefill else "refused",
}


if __name__ == "__main__":
    TARGET.write_text(configuration(), "utf-8")
    PROVIDERS.write_text(providers(PROVIDERS.read_text("utf-8")), "utf-8")
    sys.stdout.write(f"{TARGET.name} and {PROVIDERS.name} written\n")
