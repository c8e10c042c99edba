"""The configured models by their public names."""

from collections.abc import Callable, Iterable, Mapping, Sequence

from chatbackend.domain.errors import NotFound
from chatbackend.domain.routing import Route, Rules, Target
from chatbackend.usecases.ports import Deployment


class Catalog:
    """`Models` over fixed lists; `rules` hold for what has no route of its own.

    `open_providers` take any model name: `provider -> make(upstream name)`.

    Full names are `provider/name`; a bare name works where exactly one provider has it.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        open_providers: Mapping[str, Callable[[str], Deployment]],
        *,
        routes: Iterable[Route] = (),
        rules: Rules | None = None,
    ) -> None:
        self._routes = {route.name: route for route in routes}
        self._rules = rules or Rules()
        self._all = list(deployments)
        self._full = {deployment.name: deployment for deployment in self._all}
        self._bare: dict[str, list[Deployment]] = {}
        for deployment in self._all:
            self._bare.setdefault(deployment.upstream_name, []).append(deployment)
        self._open = dict(open_providers)

    def route(self, name: str) -> Route:
        """See `Models.route`."""
        route = self._routes.get(name)
        if route is None:
            found = self.find(name)
            route = Route(found.name, ((Target(found.name),),), self._rules)
            if found.name in self._full:  # names that any provider takes are not kept: there is no end of them
                self._routes[name] = route
        return route

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
