"""The TOML file composed with the models: aliases and routes to what is configured."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from chatbackend.adapters import settings_file
from chatbackend.adapters.settings_file import SettingsFile
from chatbackend.config import BadSetting


def read_file(path: Path | None) -> SettingsFile:
    """Return what the file says, an empty one for no path. Raises: BadSetting."""
    if path is None:
        return SettingsFile()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadSetting(f"CHATBACKEND_CONFIG is '{path}', which cannot be read ({error.strerror}).") from error
    with blamed(path):
        return settings_file.read(content)


@contextmanager
def blamed(path: Path | None) -> Generator[None, None, None]:
    """Turn a mistake that is found while the file is put to use into the one line to show. Raises: BadSetting."""
    try:
        yield
    except ValueError as error:
        raise BadSetting(f"CHATBACKEND_CONFIG is '{path}': {str(error).rstrip('.')}.") from error
