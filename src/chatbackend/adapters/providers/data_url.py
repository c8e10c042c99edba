"""Files and images inside a request: `data:` URLs (RFC 2397) and the types that file names say."""

_MEDIA_TYPES = {"txt": "text/plain", "md": "text/markdown", "csv": "text/csv", "json": "application/json"}


def split_data_url(url: str) -> tuple[str, str] | None:
    """Return (media type, base64 text) of a base64 `data:` URL, None for any other URL."""
    head, comma, data = url.partition(",")
    if not (comma and head.startswith("data:") and head.endswith(";base64")):
        return None
    return head[len("data:") :].partition(";")[0].lower(), data


def media_type_of(filename: str) -> str:
    """Return the media type that a file's name says, PDF for any name that says nothing."""
    return _MEDIA_TYPES.get(filename.rpartition(".")[2].lower(), "application/pdf")
