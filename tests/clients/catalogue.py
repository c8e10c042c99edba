"""Which clients are held to the server, what each is asked to do, and what is not asked of it, with the reason.

Every client does every check in each dialect it speaks, over every provider family, but for what stands here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal

Dialect = Literal["responses", "chat", "messages"]
Runtime = Literal["own", "clients", "clients-openai2", "node"]

CHECKS = (
    "text",  # a whole answer, word for word
    "stream",  # the same in pieces that join to it
    "usage",  # the provider's count, whole and streamed
    "tools",  # call, output, text
    "parallel-tools",  # two calls in one turn
    "structured",  # an object by a schema
    "image",  # one that reaches the provider, or a 400 where its model sees nothing
    "unauthorized",  # 401
    "unknown-model",  # 404
    "busy",  # 429, with retry-after
    "bad-request",  # 400, the provider's
    "too-long",  # 400 context_length_exceeded
    "cancel",  # a stream that is left in its middle
    "cancel-whole",  # a whole answer that is not waited for
    "timeout",  # a client that waits no longer
    "stop",  # an answer cancelled by its id
    "models",  # the list that the model stands in
    "count",  # what a request would cost to read
)
ONLY: Mapping[str, frozenset[Dialect]] = {
    "stop": frozenset({"responses"}),
    "models": frozenset({"responses", "messages"}),
    "count": frozenset({"responses", "messages"}),
}

Lacks = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Client:
    """One client: its program (with arguments), and what it does not offer (a check, or `dialect.check`, and why)."""

    name: str
    package: str
    program: str
    dialects: tuple[Dialect, ...]
    runtime: Runtime = "own"
    lacks: Lacks = field(default_factory=dict[str, str])

    @property
    def azure(self) -> bool:
        """Whether it dials as clients of Azure OpenAI do: then a model is a deployment, with a name of its own."""
        return "azure" in self.name

    def checks(self) -> list[str]:
        """Return the names of its checks, `dialect.check`."""
        names = [(dialect, check) for dialect in self.dialects for check in CHECKS]
        return [
            f"{dialect}.{check}"
            for dialect, check in names
            if dialect in ONLY.get(check, (dialect,)) and not self.lacks.keys() & {check, f"{dialect}.{check}"}
        ]


@dataclass(frozen=True, slots=True)
class Family:
    """A provider family: the variables that configure it, and what its model does not take."""

    name: str
    variable: str
    path: str = ""
    models: str = "_MODELS"
    refuses: frozenset[str] = frozenset()

    @property
    def bare_model(self) -> str:
        """The model's name where no provider is named."""
        return f"scripted-{self.name}"

    @property
    def model(self) -> str:
        """The model's public name."""
        return f"{self.name}/{self.bare_model}"

    def environment(self, upstream: str) -> dict[str, str]:
        """Return the settings that put the upstream behind it."""
        name = self.variable
        return {
            f"{name}_ENDPOINT": upstream + self.path,
            f"{name}_API_KEY": f"sk-upstream-{self.name}",
            f"{name}{self.models}": self.bare_model,
        }


FAMILIES = (
    Family("openai", "OPENAI", path="/v1"),
    Family("claude", "CLAUDE"),
    Family("llama31", "LLAMA31", refuses=frozenset({"responses.image", "messages.image"})),  # a relay asks the provider
    Family("azure", "AZURE_OPENAI", models="_DEPLOYMENTS"),
    Family("perplexity", "PERPLEXITY", refuses=frozenset({"tools"})),
)

_BLOCKING: Lacks = {"cancel-whole": "a call that blocks its thread cannot be left"}
_FRAMEWORK: Lacks = {
    "stop": "it has no call that cancels a response",
    "models": "it has no call that lists the models",
    "count": "it has no call that asks what a request would cost",
}
_PLAYED = "of a model that its own list does not name it takes the answer whole and plays a stream"
_LITELLM: Lacks = {
    **_FRAMEWORK,
    "responses.cancel": _PLAYED,
    "responses.stop": _PLAYED,
    "messages.structured": "of a model that its own list does not name it spells a schema as a forced tool",
}
_OPENAI: tuple[Dialect, ...] = ("responses", "chat")

CLIENTS = (
    Client("openai", "openai", "openai_sdk sync openai", _OPENAI, lacks=_BLOCKING),
    Client("openai-async", "openai", "openai_sdk async openai", _OPENAI),
    Client("openai-2", "openai", "openai_sdk async openai", _OPENAI, "clients-openai2"),
    Client("azure-openai", "openai", "openai_sdk sync azure", _OPENAI, lacks=_BLOCKING),
    Client("azure-openai-async", "openai", "openai_sdk async azure", _OPENAI),
    Client("anthropic", "anthropic", "anthropic_sdk sync", ("messages",), lacks=_BLOCKING),
    Client("anthropic-async", "anthropic", "anthropic_sdk async", ("messages",)),
    Client("langchain-openai", "langchain-openai", "langchain_openai_chat", _OPENAI, "clients", _FRAMEWORK),
    Client("pydantic-ai", "pydantic-ai", "pydantic_ai_agent", (*_OPENAI, "messages"), "clients", _FRAMEWORK),
    Client("llama-index", "llama-index", "llama_index_llm", _OPENAI, "clients-openai2", _FRAMEWORK),
    Client("litellm", "litellm", "litellm_client", (*_OPENAI, "messages"), "clients-openai2", _LITELLM),
    Client("openai-node", "openai", "openai openai", _OPENAI, "node"),
    Client("azure-openai-node", "openai", "openai azure", _OPENAI, "node"),
    Client("anthropic-node", "@anthropic-ai/sdk", "anthropic", ("messages",), "node"),
    Client("ai-sdk-openai", "@ai-sdk/openai", "ai openai", _OPENAI, "node", _FRAMEWORK),
    Client("ai-sdk-openai-compatible", "@ai-sdk/openai-compatible", "ai compatible", ("chat",), "node"),
    Client("ai-sdk-anthropic", "@ai-sdk/anthropic", "ai anthropic", ("messages",), "node", _FRAMEWORK),
    Client("ai-sdk-azure", "@ai-sdk/azure", "ai azure", _OPENAI, "node", _FRAMEWORK),
)


@dataclass(frozen=True, slots=True)
class Pending:
    """Checks that cannot pass yet, by patterns, and why. One that begins to pass fails its test: take it off."""

    reason: str
    checks: tuple[str, ...]
    clients: tuple[str, ...] = ("*",)
    families: tuple[str, ...] = ("*",)

    def names(self, client: str, family: str, check: str) -> bool:
        """Whether this check of this client over this family is meant."""
        pairs = ((client, self.clients), (family, self.families), (check, self.checks))
        return all(any(fnmatchcase(name, pattern) for pattern in patterns) for name, patterns in pairs)


PENDING: tuple[Pending, ...] = ()
