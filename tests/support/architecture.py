"""The house rules that linters do not know, checked on the syntax tree of one module at a time."""

import ast
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

MODULE_MAX_LINES = 500
BODY_MAX_LINES = 50
STDLIB = frozenset(sys.stdlib_module_names)
WORLDLY = frozenset({"asyncio", "logging", "os", "random", "secrets", "socket", "subprocess", "threading", "time"})
THIRD_PARTY = {
    "domain": frozenset[str](),
    "usecases": frozenset({"anyio"}),
    "adapters": frozenset({"filetype", "jsonschema", "msgspec", "python_multipart", "referencing"}),
}
INNER = {
    "domain": frozenset({"domain"}),
    "usecases": frozenset({"domain", "usecases"}),
    "adapters": frozenset({"domain", "usecases", "adapters"}),
}

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One parsed module; `path` is relative to the package, as in `domain/errors.py`."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The first folder or the file's own name: `domain`, `infra`, `cli`."""
        return self.path.with_suffix("").parts[0]


def parse(path: str, text: str) -> Module:
    """Parse the source of the module at `path`."""
    return Module(PurePosixPath(path), text, ast.parse(text))


def _functions(module: Module) -> Iterator[Function]:
    return (node for node in ast.walk(module.tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _imports(module: Module) -> Iterator[tuple[int, str]]:
    """Every imported dotted name with its line; relative imports are made absolute."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(module, node)
            yield from ((node.lineno, f"{base}.{alias.name}") for alias in node.names)


def _absolute(module: Module, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parents = ("chatbackend", *module.path.parts[: len(module.path.parts) - node.level])
    return ".".join([*parents, *([node.module] if node.module else [])])


def forbidden_imports(module: Module) -> Iterator[str]:
    """Inner layers import their own kind, a harmless standard library and their few named packages."""
    if module.layer not in INNER:
        return
    for line, name in _imports(module):
        top, _, rest = name.partition(".")
        if top == "chatbackend":
            allowed = rest.split(".")[0] in INNER[module.layer]
        else:
            allowed = top in (STDLIB - WORLDLY) | THIRD_PARTY[module.layer]
        if not allowed:
            yield f"{module.path}:{line} {module.layer} imports {name}"


def waiting_functions(module: Module) -> Iterator[str]:
    """The domain and the adapters never wait."""
    if module.layer in {"domain", "adapters"}:
        for node in _functions(module):
            if isinstance(node, ast.AsyncFunctionDef):
                yield f"{module.path}:{node.lineno} async def {node.name} in {module.layer}"


def missing_docstring(module: Module) -> Iterator[str]:
    """Every module says what it is for."""
    if ast.get_docstring(module.tree) is None:
        yield f"{module.path}:1 has no docstring"


def long_module(module: Module) -> Iterator[str]:
    """No module is longer than a sitting."""
    lines = module.text.count("\n")
    if lines > MODULE_MAX_LINES:
        yield f"{module.path}: {lines} lines, more than {MODULE_MAX_LINES}"


def long_functions(module: Module) -> Iterator[str]:
    """A function's body, without its signature and docstring, fits a screen."""
    for node in _functions(module):
        body = node.body[1:] if ast.get_docstring(node) is not None else node.body
        lines = (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0
        if lines > BODY_MAX_LINES:
            yield f"{module.path}:{node.lineno} {node.name}: {lines} lines, more than {BODY_MAX_LINES}"


def unannotated_functions(module: Module) -> Iterator[str]:
    """Every public function says what it takes and returns."""
    for node in _functions(module):
        if not node.name.startswith("_") and not _is_annotated(node):
            yield f"{module.path}:{node.lineno} {node.name} is not annotated"


def _is_annotated(node: Function) -> bool:
    given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    named = [argument for argument in given if argument and argument.arg not in {"self", "cls"}]
    return node.returns is not None and all(argument.annotation for argument in named)


CHECKS: tuple[Callable[[Module], Iterator[str]], ...] = (
    forbidden_imports,
    waiting_functions,
    missing_docstring,
    long_module,
    long_functions,
    unannotated_functions,
)


def findings(module: Module) -> list[str]:
    """Everything that is wrong with one module."""
    return [finding for check in CHECKS for finding in check(module)]
