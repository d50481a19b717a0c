"""Where logs are replicated to: a URL without credentials, and the credentials, which only the environment has."""

from __future__ import annotations

import importlib
import os
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from eventtree.errors import ConfigError
from eventtree.record import BY_NAME
from eventtree.relay.port import Port
from eventtree.serializer.registry import vendor_class
from eventtree.serializer.vendor import LOOPBACK, Vendor

SCHEMES = {
    "nats": ("nats", "nats", "tls"),
    "tls": ("nats", "nats", ""),
    "redis": ("redis", "redis", "rediss"),
    "rediss": ("redis", "redis", ""),
    "http": ("http", "collector", "https"),
    "https": ("http", "collector", ""),
}
"""Scheme of a URL → the module of its engine, the extra; where it sends in clear text, what to use off this machine."""
NATS_CREDENTIALS = "-----BEGIN NATS USER JWT-----"


def port_at(url: str, *, serves: bool = False) -> Port:
    """A connection to open; with `serves`, a collector's. What would keep it from ever opening is said now.

    Raises:
        ConfigError: the URL is none, holds credentials, or would show what is recorded to the network; the engine's
            package is not installed; a credential cannot be read.
    """
    try:
        parts = urlsplit(url)
        name, extra, encrypted = SCHEMES[parts.scheme if parts.hostname and parts.port != 0 else ""]
    except (ValueError, KeyError):
        hint = f"Give one of {', '.join(SCHEMES)}://HOST, or set EVENTTREE_RELAY"
        raise ConfigError("relay", "it is no URL of an engine", hint) from None
    if parts.username or parts.password:
        raise ConfigError("relay", "the URL holds credentials", "Set EVENTTREE_RELAY_CREDS or EVENTTREE_RELAY_TOKEN")
    if encrypted and parts.hostname not in LOOPBACK:
        problem = f"{parts.scheme}:// would show all to the network"
        raise ConfigError("relay", problem, f"Use {encrypted}://{parts.netloc}")
    credentials()
    try:
        module = importlib.import_module(f"eventtree.relay.{name}")
        made = getattr(module, "Server", module.Engine) if serves else module.Engine
        return cast("Port", made(parts))
    except ImportError as error:
        hint = f"Run pip install 'eventtree[{extra}]'"
        raise ConfigError("relay", f"{error.name} is not installed", hint) from error


def named_vendors(given: Iterable[Any]) -> tuple[dict[str, str], ...]:
    """Vendors as a relayed tree names them: by their names, without key or host.

    Raises:
        ConfigError: there is no vendor of such a name.
    """
    names = [one.name if isinstance(one, Vendor) else vendor_class(str(one)).kind for one in given]
    return tuple({"name": name, "fingerprint": BY_NAME} for name in dict.fromkeys(names))


def credentials() -> tuple[str | None, str | None, str]:
    """A file of NATS credentials, if EVENTTREE_RELAY_CREDS names one; EVENTTREE_RELAY_USER; and the token or password:
    EVENTTREE_RELAY_TOKEN, or what else that file holds.

    Raises:
        ConfigError: the file cannot be read.
    """
    path, user, token = (os.environ.get(f"EVENTTREE_RELAY_{name}") or None for name in ("CREDS", "USER", "TOKEN"))
    try:
        text = Path(path).read_text().strip() if path else ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError("EVENTTREE_RELAY_CREDS", f"{path} cannot be read: {reason}", "Name a readable file") from None
    is_nats = text.startswith(NATS_CREDENTIALS)
    return (path if is_nats else None), user, token or ("" if is_nats else text)


def tls() -> ssl.SSLContext:
    """TLS 1.2 at least, verified against the usual authorities, or those of EVENTTREE_RELAY_CA."""
    try:
        context = ssl.create_default_context(cafile=os.environ.get("EVENTTREE_RELAY_CA") or None)
    except OSError as error:
        raise ConfigError("EVENTTREE_RELAY_CA", f"it cannot be read: {error.strerror}", "Name a PEM file") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
