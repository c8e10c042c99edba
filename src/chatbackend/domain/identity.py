"""Who acts, and whose rows they may see."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller behind a credential.

    `account` is the key's service account; `owner` is that account, or the user named by the
    `chatbackend-user` header. Rows are written and listed under (`tenant`, `owner`); files and
    vector stores of (`tenant`, `account`) may be read and searched as well.
    """

    tenant: str
    account: str
    owner: str
    key_id: str

    @property
    def readable_owners(self) -> tuple[str, ...]:
        """Owners whose files and vector stores this caller may read: its own, then the account's."""
        return (self.owner,) if self.owner == self.account else (self.owner, self.account)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key of a service account; the secret itself is never kept, only its SHA-256."""

    id: str
    tenant: str
    account: str
    name: str
    created_at: int
    revoked_at: int | None = None


def user_owner(account: str, user: str) -> str:
    """Return the owner id of a user acting through an account's key (never equal to an account's own)."""
    return f"{account}/{user}"
