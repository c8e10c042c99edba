"""The configured models by their public names."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from chatbackend.domain.errors import NotFound
from chatbackend.usecases.ports import Deployment


class Catalog:
    """`Models` over a fixed list. `open_providers` take any model name: `provider -> make(upstream name)`.

    Full names are `provider/name`; a bare name works where exactly one provider has it.
    """

    def __init__(
        self, deployments: Iterable[Deployment], open_providers: Mapping[str, Callable[[str], Deployment]]
    ) -> None:
        self._all = list(deployments)
        self._full = {deployment.name: deployment for deployment in self._all}
        self._bare: dict[str, list[Deployment]] = {}
        for deployment in self._all:
            self._bare.setdefault(deployment.upstream_name, []).append(deployment)
        self._open = dict(open_providers)

    def find(self, name: str) -> Deployment:
        """See `Models.find`."""
        found = self._full.get(name)
        if found is not None:
            return found
        provider, slash, upstream_name = name.partition("/")
        if slash and upstream_name and provider in self._open:
            return self._open[provider](upstream_name)
        bare = self._bare.get(name, [])
        if len(bare) == 1:
            return bare[0]
        raise NotFound(self._unknown(name, bare), param="model", code="model_not_found")

    def all(self) -> Sequence[Deployment]:
        """See `Models.all`."""
        return self._all

    def _unknown(self, name: str, candidates: list[Deployment]) -> str:
        if candidates:
            return f"The model name '{name}' is ambiguous; use one of {_listed(candidates)}."
        known = _listed(self._all) + "".join(f", {provider}/<any name>" for provider in self._open)
        return f"The model '{name}' does not exist. Known models: {known}."


def _listed(deployments: Iterable[Deployment]) -> str:
    return ", ".join(deployment.name for deployment in deployments)
