"""What PostgreSQL and asyncpg raise, as we tell it: one table, at this edge.

Source: https://www.postgresql.org/docs/15/errcodes-appendix.html
"""

import asyncpg

from chatbackend.domain.errors import ChatError, InvalidRequest, Unavailable

# Lost races: run again, the work sees what the winner did. A unique value that was there from the start stays refused.
RACES = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError, asyncpg.UniqueViolationError)
# No answer, or none to rely on: the connection is given up.
LOST = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.IdleInTransactionSessionTimeoutError,
    asyncpg.InternalClientError,
)
_REFUSED = (
    *LOST,
    *RACES[:2],
    asyncpg.CannotConnectNowError,
    asyncpg.InsufficientResourcesError,  # too many connections, disk full, out of memory
    asyncpg.QueryCanceledError,  # statement_timeout
    asyncpg.LockNotAvailableError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, or a read that writes
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.PostgresIOError,
)


def translated(error: BaseException) -> BaseException:
    """Return what a caller is told; what is in no table (a fault of ours) is returned as it is."""
    if isinstance(error, ChatError):
        return error
    told = _told(error)
    if told is None:
        return error
    told.__cause__ = error
    return told


def _told(error: BaseException) -> ChatError | None:
    if isinstance(error, asyncpg.CharacterNotInRepertoireError):
        return InvalidRequest("A text holds a NUL character, which cannot be kept.", code="invalid_text")
    if isinstance(error, asyncpg.ProgramLimitExceededError):
        return InvalidRequest("A text is too long to be kept.", code="text_too_long")
    if isinstance(error, _REFUSED) and not isinstance(error, ValueError):  # that is asyncpg's word for a bad argument
        return Unavailable("The database cannot be used now.", code="storage_unavailable")
    return None
