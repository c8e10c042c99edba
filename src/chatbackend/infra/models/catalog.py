"""The configured models by their public names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from chatbackend.domain.errors import NotFound
from chatbackend.domain.routing import Route, Rules, Target
from chatbackend.usecases.ports import Deployment

T = TypeVar("T")


class Catalog:
    """`Models` over fixed lists; `rules` hold for what has no route of its own.

    `open_providers` take any model name: `provider -> make(upstream name)`. Full names are `provider/name`; a bare name
    works where exactly one provider has it. Raises: ValueError for a route or an alias that leads nowhere.
    """

    def __init__(
        self,
        deployments: Iterable[Deployment],
        open_providers: Mapping[str, Callable[[str], Deployment]],
        *,
        routes: Iterable[Route] = (),
        aliases: Mapping[str, str] | None = None,
        rules: Rules | None = None,
    ) -> None:
        self._rules = rules or Rules()
        self._single: dict[str, Route] = {}
        self._all = list(deployments)
        self._full = {deployment.name: deployment for deployment in self._all}
        self._bare: dict[str, list[Deployment]] = {}
        for deployment in self._all:
            self._bare.setdefault(deployment.upstream_name, []).append(deployment)
        self._open = dict(open_providers)
        self._aliases = dict(aliases or {})
        self._routes: dict[str, Route] = {}
        self._routes |= {route.name: self._checked(route) for route in routes}
        for alias, name in self._aliases.items():
            self._look_up(f"aliases.{alias}", self.route, name)

    def route(self, name: str) -> Route:
        """See `Models.route`."""
        name = self._aliases.get(name, name)
        route = self._routes.get(name) or self._single.get(name)
        if route is None:
            found = self.find(name)
            route = Route(found.name, ((Target(found.name),),), self._rules)
            if found.name in self._full:  # names that any provider takes are not kept: there is no end of them
                self._single[name] = route
        return route

    def find(self, name: str) -> Deployment:
        """See `Models.find`."""
        found = self._full.get(name)
        if found is not None:
            return found
        provider, slash, upstream_name = name.partition("/")
        if slash and upstream_name and upstream_name.isprintable() and provider in self._open:
            return self._open[provider](upstream_name)
        bare = self._bare.get(name, [])
        if len(bare) == 1:
            return bare[0]
        raise NotFound(self._unknown(name, bare), param="model", code="model_not_found")

    def names(self) -> Sequence[str]:
        """See `Models.names`."""
        return [*self._aliases, *self._routes]

    def all(self) -> Sequence[Deployment]:
        """See `Models.all`."""
        return self._all

    def _checked(self, route: Route) -> Route:
        """Return a route with the full names of its deployments."""

        def full(target: Target) -> Target:
            return replace(target, deployment=self._look_up(f"routes.{route.name}", self.find, target.deployment).name)

        return replace(route, tiers=tuple(tuple(full(target) for target in tier) for tier in route.tiers))

    def _look_up(self, place: str, find: Callable[[str], T], name: str) -> T:
        try:
            return find(name)
        except NotFound as error:
            raise ValueError(f"{place}: {error.message}") from error

    def _unknown(self, name: str, candidates: list[Deployment]) -> str:
        if candidates:
            return f"The model name '{name}' is ambiguous; use one of {_listed(candidates)}."
        known = (
            "".join(f"{name}, " for name in self.names())
            + _listed(self._all)
            + "".join(f", {provider}/<any name>" for provider in self._open)
        )
        return f"The model '{name}' does not exist. Known models: {known}."


def _listed(deployments: Iterable[Deployment]) -> str:
    return ", ".join(deployment.name for deployment in deployments)
