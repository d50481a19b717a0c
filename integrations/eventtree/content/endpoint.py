"""The address of a model's service, without what may be a key: user, password, query and fragment."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit


def endpoint(url: str) -> str | None:
    """Scheme, host, port and path of `url`, or None where it is no web address."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))
