"""Llama 3.1 on any server of open models: vLLM, Ollama, llama.cpp, Azure Foundry.

Source: Llama's model card and prompt formats; the OpenAI-compatible servers' own pages.
"""

from chatbackend.adapters.providers.family import Family
from chatbackend.adapters.providers.openai_chat import ChatCodec
from chatbackend.domain.models import ModelProfile

LLAMA31 = Family(
    "llama31",
    "LLAMA31",
    ChatCodec,
    ModelProfile(
        accepts_images=False,
        calls_in_text=True,
        thinking="none",
        refuses=frozenset(("reasoning_effort", "verbosity")),
    ),
    (
        (r"llama-?4|vision|llava|-vl\b", {"accepts_images": True}),
        (r"gpt-oss|deepseek-?r1|qwen-?3|qwq|magistral", {"refuses": ["verbosity"], "thinking": "adaptive"}),
    ),
    relays={"chat": "/chat/completions", "embeddings": "/embeddings"},
)
