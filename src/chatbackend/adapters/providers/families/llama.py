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
    ModelProfile(accepts_images=False),
    relays={"chat": "/chat/completions", "embeddings": "/embeddings"},
)
