"""The command line: `chatbackend serve`, `keys`, `usage`, `migrate`, `move`, `doctor`, `worker`."""

import contextlib
import sqlite3
import sys
import tempfile
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import anyio
import msgspec
import sqlalchemy.exc
import typer
from rich import box
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID
from rich.table import Column, Table

from chatbackend import bootstrap
from chatbackend.bootstrap import operate, truth
from chatbackend.config import BadSetting, Settings, load
from chatbackend.domain.errors import Unavailable
from chatbackend.domain.identity import ApiKey
from chatbackend.infra.db.usage_totals import By, Totals
from chatbackend.infra.system import AlreadyRunning
from chatbackend.infra.telemetry import set_up_logging
from chatbackend.infra.web import server

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Chat Backend General: the backend behind a chat app.",
)
keys_app = typer.Typer(no_args_is_help=True, help="API keys of service accounts.")
app.add_typer(keys_app, name="keys")
_CONTRACT = "Take away, too, what only older releases use: they cannot run on it any more."
_out = Console()
_err = Console(stderr=True)
USAGE = """\
Chat Backend General is ready on {url}
  API reference  {url}/docs
{key}  try it
    curl {url}/v1/responses -H 'Authorization: Bearer {token}' \\
      -H 'Content-Type: application/json' -d '{{"model": "local", "input": "Hello"}}'
"""


def _stop(message: str) -> typer.Exit:
    _err.print(message, style="red", markup=False, soft_wrap=True)
    return typer.Exit(2)


def _settings() -> Settings:
    try:
        return load()
    except BadSetting as error:
        raise _stop(str(error)) from error


def _settings_and_folder() -> Settings:
    """Return the settings, with the data folder there and writable."""
    settings = _settings()
    folder = settings.chatbackend_data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass  # asking for rights would not tell of a file system that is read-only or full
    except OSError as error:
        raise _stop(
            f"CHATBACKEND_DATA_DIR is '{folder}', which cannot be the data folder ({error.strerror}). "
            "Name a folder that this user may make or write."
        ) from error
    return settings


def _run(main: Callable[[], Awaitable[T]]) -> T:
    try:
        return anyio.run(main, backend_options={"use_uvloop": sys.platform != "win32"})
    except BadSetting as error:
        raise _stop(str(error)) from error


@app.command(epilog="Example: CHATBACKEND_PORT=9000 chatbackend serve")
def serve() -> None:
    """Serve in the foreground; SIGTERM or Ctrl-C ends it within 20 s."""
    settings = _settings_and_folder()
    set_up_logging(settings.chatbackend_log_level)
    try:
        refused = _run(lambda: _serve(settings))
    except BadSetting as error:
        raise _stop(str(error)) from error
    except AlreadyRunning as error:
        folder = settings.chatbackend_data_dir
        message = f"Another server is running on the data folder '{folder}'. Stop it, or set CHATBACKEND_DATA_DIR."
        raise _stop(message) from error
    except (sqlite3.DatabaseError, sqlalchemy.exc.DatabaseError) as error:
        raise _unusable(settings, error) from error
    except Unavailable as error:
        if not isinstance(error.__cause__, sqlite3.DatabaseError):
            raise
        raise _unusable(settings, error.__cause__) from error
    if refused:
        raise _stop(refused)


def _unusable(settings: Settings, error: Exception) -> typer.Exit:
    """Say what a database in the data folder lacks."""
    folder, why = settings.chatbackend_data_dir, str(error).partition("\n")[0]
    of_the_disk = isinstance(error, (sqlite3.OperationalError, sqlalchemy.exc.OperationalError))
    mend = "Look at its disk: room, permissions, health" if of_the_disk else "Restore it from a backup"
    return _stop(f"A database in the data folder '{folder}' cannot be used ({why}). {mend}.")


async def _serve(settings: Settings) -> str:
    """Serve until told to stop; return why there is nothing to serve on, "" when there was."""
    certificate = operate.certificate(settings)
    async with bootstrap.build(settings) as built:
        try:
            listener = server.bind(settings.chatbackend_host, settings.chatbackend_port)
        except OSError as error:
            where = f"{settings.chatbackend_host}:{settings.chatbackend_port}"
            return f"Cannot listen on {where} ({error.strerror}). Set CHATBACKEND_HOST or CHATBACKEND_PORT."
        with contextlib.closing(listener):
            host, port = listener.getsockname()[:2]
            url = f"{'http' if certificate is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
            first_key = await built.first_key()
            await server.serve(
                built.web,
                listener,
                max_frame_bytes=settings.max_frame_bytes,
                max_connections=settings.chatbackend_max_connections,
                ping_s=settings.chatbackend_ping_s,
                certificate=certificate,
                listening=lambda: _greet(url, first_key),
                drain=lambda answering: built.drain(settings.chatbackend_drain_s, answering),
            )
    return ""


def _greet(url: str, first_key: str | None) -> None:
    shown = f"  first API key  {first_key}   (shown only this once)\n" if first_key else ""
    _out.print(
        USAGE.format(url=url, key=shown, token=first_key or "YOUR_KEY"), markup=False, highlight=False, soft_wrap=True
    )
    sys.stdout.flush()


@app.command()
def worker() -> None:
    """Run a worker beside servers (not with the embedded queue, whose worker is part of `serve`)."""
    raise _stop(
        "The queue is 'embedded:', so the worker is part of 'chatbackend serve'; there is nothing to run beside it."
    )


@app.command()
def migrate(
    contract: Annotated[bool, typer.Option("--contract", help=_CONTRACT)] = False,  # noqa: FBT002  # how typer spells a flag
) -> None:
    """Bring the database to this version (`serve` does it by itself); beside a running server: only check."""
    try:
        _out.print(truth.migrate_or_check(_settings_and_folder(), contract=contract), markup=False, soft_wrap=True)
    except BadSetting as error:
        raise _stop(str(error)) from error


@app.command(epilog="Example: chatbackend move --to postgresql://USER:PASSWORD@HOST/DATABASE")
def move(to: Annotated[str, typer.Option(help="An empty PostgreSQL database.")]) -> None:
    """Copy everything in the data folder's database into PostgreSQL, and prove it; the server must be stopped."""
    settings = _settings()
    try:
        url = load({"DATABASE_URL": to}).postgres() or ""
    except BadSetting as error:
        raise _stop(str(error).replace("DATABASE_URL", "--to", 1)) from error
    bar = Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=_err)
    tasks: dict[str, TaskID] = {}

    def moved(table: str, rows: int, total: int) -> None:
        if table not in tasks:
            tasks[table] = bar.add_task(table, total=total)
        bar.update(tasks[table], completed=rows)

    try:
        with bar:
            found = _run(lambda: truth.move(settings, url, moved))
    except AlreadyRunning as error:
        raise _stop(f"A server is running on the data folder '{settings.chatbackend_data_dir}'. Stop it.") from error
    for table, content in found.items():
        _out.print(f"{table:<30} {content.rows:>10,} rows  sha256 {content.digest}", markup=False, highlight=False)
    _out.print("Everything is there and the same. Start the server with DATABASE_URL set to it.", markup=False)


@app.command()
def doctor() -> None:
    """Check every configured dependency and say what to fix."""
    problems = _run(lambda: operate.check(_settings(), lambda line: _out.print(line, markup=False, soft_wrap=True)))
    raise typer.Exit(1 if problems else 0)


@app.command(epilog="Example: chatbackend usage --since 7d --by key")
def usage(
    since: Annotated[str, typer.Option(help="A time back (12h, 7d, 4w) or a date, UTC.")] = "30d",
    by: Annotated[By, typer.Option(help="What to add up.")] = "model",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with whole nano-dollars.")] = False,  # noqa: FBT002  # how typer spells a flag
) -> None:
    """Show what calls of models used and cost; beside a running server too."""
    try:
        begin = operate.since(since, datetime.now(UTC))
    except ValueError as error:
        raise _stop(str(error)) from error

    async def work() -> list[Totals]:
        async with operate.usage(_settings()) as totals:
            return await totals(by, since=begin)

    try:
        found = _run(work)
    except ValueError as error:
        raise _stop(str(error)) from error
    if as_json:
        typer.echo(msgspec.json.encode({"since": begin, "by": by, "data": found}))
    else:
        # Numbers are never cut where nobody looks at a window.
        (_out if _out.is_terminal else Console(width=200)).print(_usage_table(by, found))


def _usage_table(by: By, found: list[Totals]) -> Table:
    table = Table(Column(by, overflow="fold"), box=box.SIMPLE_HEAD)
    for title in ("calls", "failed", "input", "cached", "output", "estimated", "unpriced", "cost"):
        table.add_column(title, justify="right", no_wrap=True)
    for each in found:
        counts = (each.calls, each.failed, each.input_tokens, each.cached_tokens, each.output_tokens)
        share = f"{100 * each.estimated / each.calls:.0f} %"
        cost = "-" if each.cost_nano_usd is None else f"${each.cost_nano_usd / 1e9:,.6f}"
        table.add_row(each.name, *(f"{count:,}" for count in counts), share, f"{each.unpriced:,}", cost)
    return table


@keys_app.command("create", epilog="Example: chatbackend keys create --account mobile-app")
def create_key(
    account: Annotated[str, typer.Option(help="The service account that the key belongs to.")] = "default",
    name: Annotated[str, typer.Option(help="A note to tell keys apart.")] = "",
) -> None:
    """Make a key and print it: it is not shown again."""

    async def work() -> str:
        async with operate.keys(_settings_and_folder()) as store:
            return await operate.create_key(store, account=account, name=name)

    try:
        _out.print(_run(work), markup=False, soft_wrap=True)
    except ValueError as error:
        raise _stop(str(error)) from error


@keys_app.command("list")
def list_keys() -> None:
    """List keys, without their secrets."""

    async def work() -> list[ApiKey]:
        async with operate.keys(_settings_and_folder()) as store:
            return await store.all()

    table = Table("id", "account", "name", "state")
    for key in _run(work):
        table.add_row(key.id, key.account, key.name, "revoked" if key.revoked_at else "active")
    _out.print(table)


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="As `keys list` shows it.")]) -> None:
    """Revoke a key; live sockets of it are closed within 5 s."""

    async def work() -> bool:
        async with operate.keys(_settings_and_folder()) as store:
            return await operate.revoke_key(store, key_id)

    if not _run(work):
        raise _stop(f"No active key '{key_id}'; 'chatbackend keys list' shows them.")
    _out.print(f"revoked {key_id}", markup=False)
