"""Which releases a database is fit for."""

from chatbackend.config import BadSetting


def refuse_lacking(lacking: list[str], where: str) -> None:
    """Refuse a truth that lacks what this release needs after it was migrated. Raises: BadSetting."""
    if lacking:
        message = (
            f"The database {where} is too old for this release, which needs {lacking[-1]}: run "
            f"'chatbackend migrate --contract'. Releases before {lacking[0]} cannot use it any more then."
        )
        raise BadSetting(message)
