"""Routes: a method, a path with `{names}`, a handler; found by their path, or in one walk of its segments."""

from collections.abc import Awaitable, Callable, Iterable

from chatbackend.infra.web.http import Request

Handler = Callable[[Request], Awaitable[None]]
Route = tuple[str, str, Handler]  # method, or WEBSOCKET


class _Node:
    __slots__ = ("children", "handlers", "wild")

    def __init__(self) -> None:
        self.children: dict[str, _Node] = {}
        self.wild: _Node | None = None
        self.handlers: dict[str, tuple[str, Handler, tuple[str, ...]]] = {}


class Router:
    """A tree of path segments. Literal segments win over `{names}`; a name matches one non-empty segment."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._root = _Node()
        self._literal: dict[str, _Node] = {}
        for method, path, handler in routes:
            self._add(method, path, handler)

    def match(self, method: str, path: str) -> tuple[str, Handler, dict[str, str]] | frozenset[str]:
        """Return (pattern, handler, path parameters), or the methods that this path allows (none: no such path)."""
        values: list[str] = []
        node = self._literal.get(path) or self._walk(path, values)
        if node is None:
            return frozenset()
        found = node.handlers.get(method)
        if found is None:
            return frozenset(node.handlers)
        path, handler, names = found
        return path, handler, dict(zip(names, values, strict=True))

    def _walk(self, path: str, values: list[str]) -> _Node | None:
        """Return the node of a path, and in `values` what its names stand for."""
        node = self._root
        for segment in path.strip("/").split("/"):
            child = node.children.get(segment)
            if child is None:
                child = node.wild
                if child is None or not segment:
                    return None
                values.append(segment)
            node = child
        return node

    def _add(self, method: str, path: str, handler: Handler) -> None:
        node, names = self._root, list[str]()
        for segment in path.strip("/").split("/"):
            if segment.startswith("{"):
                node.wild = node.wild or _Node()
                node = node.wild
                names.append(segment[1:-1])
            else:
                node = node.children.setdefault(segment, _Node())
        node.handlers[method] = (path, handler, tuple(names))
        if not names:
            self._literal[path] = node
