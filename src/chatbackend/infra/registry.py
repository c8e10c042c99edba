"""Names from the settings -> what implements them: a provider family is one file and one line here.

Or a package of its own, which names its `Family` in the entry point group `chatbackend.providers`; it is imported only
where its endpoint is set.
"""

from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint, entry_points

from chatbackend.adapters.providers.families.azure import AZURE
from chatbackend.adapters.providers.families.claude import CLAUDE
from chatbackend.adapters.providers.families.llama import LLAMA31
from chatbackend.adapters.providers.families.openai import OPENAI
from chatbackend.adapters.providers.families.perplexity import PERPLEXITY
from chatbackend.adapters.providers.family import ENTRY_POINTS, Family, variable_of

__all__ = ["FAMILIES", "Family", "families"]

FAMILIES = (AZURE, OPENAI, CLAUDE, LLAMA31, PERPLEXITY)


def families(is_set: Callable[[str], bool]) -> Iterator[Family]:
    """Yield the families whose endpoint is set; `is_set` says that of a variables' prefix.

    Raises: ValueError for an installed package whose family cannot be had.
    """
    yield from (family for family in FAMILIES if is_set(family.variable))
    taken = {family.variable for family in FAMILIES}
    for point in entry_points(group=ENTRY_POINTS):
        variable = variable_of(point.name)
        if variable not in taken and is_set(variable):
            taken.add(variable)
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
