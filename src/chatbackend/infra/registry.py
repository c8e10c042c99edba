"""Names from the settings -> what implements them: a provider family is one file and one line here."""

from chatbackend.adapters.providers.families.azure import AZURE
from chatbackend.adapters.providers.families.claude import CLAUDE
from chatbackend.adapters.providers.families.llama import LLAMA31
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.families.perplexity import PERPLEXITY
from chatbackend.adapters.providers.family import Family

__all__ = ["FAMILIES", "Family"]

FAMILIES = (AZURE, OPENAI, CLAUDE, LLAMA31, PERPLEXITY)
