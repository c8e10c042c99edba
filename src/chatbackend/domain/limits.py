"""How much of something one user may have at once."""

from collections.abc import Generator
from contextlib import contextmanager

from chatbackend.domain.errors import RateLimited
from chatbackend.domain.identity import Principal

USERS_SHARE = 100  # where no limit is set, for users that an account names


class PerUser:
    """Counts what each user has. `what` names it in the refusal, `code` is the refusal's.

    `limit` is everybody's; None: `USERS_SHARE` for users that an account names, no limit for the account itself.
    """

    def __init__(self, limit: int | None, *, what: str, code: str) -> None:
        self._limit = limit
        self._what = what
        self._code = code
        self._counts: dict[tuple[str, str], int] = {}

    @contextmanager
    def room(self, principal: Principal) -> Generator[None]:
        """Have one more while this context is open: counted in the step that looks for room. Raises: RateLimited."""
        self._check(principal)
        self.enter(principal)
        try:
            yield
        finally:
            self.leave(principal)

    def _check(self, principal: Principal) -> None:
        limit = self._limit
        if limit is None:
            if principal.owner == principal.account:
                return
            limit = USERS_SHARE
        if self._counts.get((principal.tenant, principal.owner), 0) >= limit:
            raise RateLimited(f"A user has at most {limit} {self._what} at once.", retry_after_s=1.0, code=self._code)

    def enter(self, principal: Principal) -> None:
        """Count one more, whether there is room or not."""
        owner = principal.tenant, principal.owner
        self._counts[owner] = self._counts.get(owner, 0) + 1

    def leave(self, principal: Principal) -> None:
        """Count one less."""
        owner = principal.tenant, principal.owner
        left = self._counts[owner] - 1
        if left:
            self._counts[owner] = left
        else:
            del self._counts[owner]
