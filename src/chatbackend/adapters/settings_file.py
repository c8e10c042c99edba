"""The TOML file of `CHATBACKEND_CONFIG`: aliases, routes and their rules, profiles, prices.

Checked whole, with the place of the first mistake; unknown keys are mistakes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from chatbackend.domain.routing import Breaker, Route, Rules, Target

Seconds = Annotated[float, Meta(gt=0)]


class TimeoutsTable(Struct, forbid_unknown_fields=True, omit_defaults=True):
    connect_s: Seconds | UnsetType = UNSET
    first_byte_s: Seconds | UnsetType = UNSET
    first_token_s: Seconds | UnsetType = UNSET
    between_s: Seconds | UnsetType = UNSET
    between_tokens_s: Seconds | UnsetType = UNSET
    total_s: Seconds | UnsetType = UNSET


class BreakerTable(Struct, forbid_unknown_fields=True):
    failures: Annotated[int, Meta(ge=1)] = 5
    cool_down_s: Seconds = 30.0


class RulesTable(Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The keys of `[defaults]`; a route has them too, and takes over those that it leaves out."""

    retries: Annotated[int, Meta(ge=0, le=10)] | UnsetType = UNSET
    backoff_s: Seconds | UnsetType = UNSET
    max_wait_s: Seconds | UnsetType = UNSET
    min_tokens_per_s: Annotated[float, Meta(ge=0)] | UnsetType = UNSET
    pace_window_s: Seconds | UnsetType = UNSET
    on_cut: Literal["end", "continue"] | UnsetType = UNSET
    timeouts: TimeoutsTable = msgspec.field(default_factory=TimeoutsTable)
    breaker: BreakerTable | Literal[False] | UnsetType = UNSET


class TargetTable(Struct, forbid_unknown_fields=True):
    model: str
    weight: Annotated[int, Meta(ge=0, le=1_000_000)] = 1


class RouteTable(RulesTable):
    """`targets` share the load; `fallbacks` are asked in their order once all of these have failed."""

    targets: Annotated[list[str | TargetTable], Meta(min_length=1)]
    fallbacks: list[str] = msgspec.field(default_factory=list[str])


class File(Struct, forbid_unknown_fields=True):
    aliases: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    routes: dict[str, RouteTable] = msgspec.field(default_factory=dict[str, RouteTable])
    defaults: RulesTable = msgspec.field(default_factory=RulesTable)
    profiles: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])
    prices: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict[str, dict[str, Any]])


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """What the file says. `rules` hold for names without a route; `profiles` and `prices` are by deployment, unread."""

    rules: Rules = field(default_factory=Rules)
    routes: Sequence[Route] = ()
    aliases: dict[str, str] = field(default_factory=dict[str, str])
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    prices: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])


def read(text: bytes) -> SettingsFile:
    """Read the file's content. Raises: ValueError, with a message that names the place."""
    try:
        file = msgspec.toml.decode(text, type=File)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ValueError(str(error)) from error
    for alias, name in file.aliases.items():
        if alias in file.routes:
            raise ValueError(f"aliases.{alias}: a route has that name")
        if name in file.aliases:
            raise ValueError(f"aliases.{alias}: '{name}' is an alias itself; name a route or a model")
    rules = _rules(file.defaults, Rules())
    routes = [_route(name, table, rules) for name, table in file.routes.items()]
    return SettingsFile(rules, routes, file.aliases, file.profiles, file.prices)


def _route(name: str, table: RouteTable, rules: Rules) -> Route:
    shared = tuple(Target(one) if isinstance(one, str) else Target(one.model, one.weight) for one in table.targets)
    tiers = (shared, *((Target(model),) for model in table.fallbacks))
    names = [target.deployment for tier in tiers for target in tier]
    if twice := next((model for model in names if names.count(model) > 1), None):
        raise ValueError(f"routes.{name}: '{twice}' is named twice")
    if rules.breaker is None and len(names) > 1:
        rules = replace(rules, breaker=Breaker())  # there is somebody else to ask
    return Route(name, tiers, _rules(table, rules))


def _rules(table: RulesTable, inherited: Rules) -> Rules:
    """Return the rules of a table over those that it takes over."""
    given = {name: value for name in _PLAIN if (value := getattr(table, name)) is not UNSET}
    times = {name: value for name in _TIMES if (value := getattr(table.timeouts, name)) is not UNSET}
    match table.breaker:
        case BreakerTable(failures, cool_down_s):
            given["breaker"] = Breaker(failures, cool_down_s)
        case False:
            given["breaker"] = None
        case _:
            pass
    return replace(inherited, timeouts=replace(inherited.timeouts, **times), **given)


_PLAIN = ("retries", "backoff_s", "max_wait_s", "min_tokens_per_s", "pace_window_s", "on_cut")
_TIMES = TimeoutsTable.__struct_fields__
