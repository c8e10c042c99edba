"""Who acts, and whose rows they may see."""

from dataclasses import dataclass, field

from chatbackend.domain.errors import Forbidden
from chatbackend.domain.realtime import Terms


@dataclass(frozen=True, slots=True)
class ClientSecret:
    """A short-lived credential that a key made for a page in a browser; it ends with that key at the latest.

    `expires_at` is in seconds since the epoch. `models` are the names it may ask by, None for any. `terms` hold its
    realtime sessions.
    """

    tenant: str
    account: str
    owner: str
    key_id: str
    expires_at: int
    models: tuple[str, ...] | None = None
    terms: Terms = field(default_factory=Terms)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller behind a credential.

    `account` is the key's service account; `owner` is that account, or the user named by the
    `chatbackend-user` header. Rows are written and listed under (`tenant`, `owner`); files and
    vector stores of (`tenant`, `account`) may be read and searched as well. `secret` is there when the
    credential was a client secret, and `key_id` is the key that made it.
    """

    tenant: str
    account: str
    owner: str
    key_id: str
    secret: ClientSecret | None = None

    @property
    def readable_owners(self) -> tuple[str, ...]:
        """Owners whose files and vector stores this caller may read: its own, then the account's."""
        return (self.owner,) if self.owner == self.account else (self.owner, self.account)

    def check_model(self, name: str) -> None:
        """Refuse a model that a client secret is not for. Raises: Forbidden."""
        models = None if self.secret is None else self.secret.models
        if models is not None and name not in models:
            message = f"This client secret is for other models: {', '.join(models)}."
            raise Forbidden(message, param="model", code="model_not_allowed")


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
