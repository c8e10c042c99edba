"""What proves to a provider who calls: headers, fixed or fetched."""

from collections.abc import Awaitable, Callable, Mapping

Headers = Mapping[str, str]
Credential = Callable[[], Awaitable[Headers]]  # the same object as long as nothing has changed


def fixed(headers: Headers) -> Credential:
    """Return the credential that never changes: a key in its header, or none."""

    async def credential() -> Headers:
        return headers

    return credential
