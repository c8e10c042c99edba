"""Names from the settings -> what implements them: a provider family is one file and one line here.

Or a package of its own, which names its `Family` in the entry point group `chatbackend.providers`; it is imported only
where its endpoint is set.
"""

from collections.abc import Collection, Iterator
from importlib.metadata import EntryPoint, entry_points

from chatbackend.adapters.providers.families.azure import AZURE
from chatbackend.adapters.providers.families.claude import CLAUDE
from chatbackend.adapters.providers.families.llama import LLAMA31
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.families.perplexity import PERPLEXITY
from chatbackend.adapters.providers.family import ENTRY_POINTS, Family, variable_of

__all__ = ["FAMILIES", "Family", "installed"]

FAMILIES = (AZURE, OPENAI, CLAUDE, LLAMA31, PERPLEXITY)


def installed(variables: Collection[str]) -> Iterator[Family]:
    """Yield the families that packages bring, by the prefixes of their variables.

    Raises: ValueError for one that cannot be had.
    """
    left = set(variables)
    for point in entry_points(group=ENTRY_POINTS) if left else ():
        variable = variable_of(point.name)
        if variable in left:
            left.remove(variable)
            yield _loaded(point, variable)


def _loaded(point: EntryPoint, variable: str) -> Family:
    place = f"{variable}_ENDPOINT: the provider '{point.name}' of the installed package '{point.value}'"
    try:
        family: object = point.load()
    except Exception as error:  # a stranger's import may raise anything; the start ends with its name
        raise ValueError(f"{place} cannot be loaded: {error}") from error
    if not isinstance(family, Family):
        raise ValueError(f"{place} is no Family")
    if (family.name, family.variable) != (point.name, variable):
        raise ValueError(f"{place} calls itself '{family.name}' with the variables {family.variable}_...")
    return family
