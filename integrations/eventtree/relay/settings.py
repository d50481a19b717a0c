"""Where logs are replicated to: a URL without credentials, and the credentials, which only the environment has."""

from __future__ import annotations

import importlib
import os
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Target:
    """A collector or an engine. Holds no secret: those are read anew for each connection."""

    url: str

    def __post_init__(self) -> None:
        """Check the URL.

        Raises:
            ConfigError: it is none, holds credentials, or would show what is recorded to the network.
        """
        try:
            parts = urlsplit(self.url)
            is_url = parts.scheme in SCHEMES and bool(parts.hostname) and parts.port != 0
        except ValueError:
            is_url = False
        if not is_url:
            hint = f"Give one of {', '.join(SCHEMES)}://HOST, or set EVENTTREE_RELAY"
            raise ConfigError("relay", "it is no URL of an engine", hint)
        if parts.username or parts.password:
            hint = "Set EVENTTREE_RELAY_CREDS or EVENTTREE_RELAY_TOKEN"
            raise ConfigError("relay", "the URL holds credentials", hint)
        if (encrypted := SCHEMES[parts.scheme][2]) and not self.is_near:
            problem = f"{parts.scheme}:// would show all to the network"
            raise ConfigError("relay", problem, f"Use {encrypted}://{parts.netloc}")

    @property
    def host(self) -> str:
        """The host."""
        return str(urlsplit(self.url).hostname)

    @property
    def is_near(self) -> bool:
        """Whether it is on this machine."""
        return self.host in LOOPBACK

    def connection(self, *, serves: bool = False) -> Port:
        """A connection to open; with `serves`, for a collector. What would keep it from ever opening is said now.

        Raises:
            ConfigError: the engine's package is not installed, or a credential cannot be read.
        """
        name, extra, _ = SCHEMES[urlsplit(self.url).scheme]
        credentials()
        try:
            module = importlib.import_module(f"eventtree.relay.{name}")
            return cast("Port", (module.Server if serves and name == "http" else module.Engine)(self))
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
    names = ("EVENTTREE_RELAY_CREDS", "EVENTTREE_RELAY_USER", "EVENTTREE_RELAY_TOKEN")
    path, user, token = map(os.environ.get, names)
    try:
        text = Path(path).read_text() if path else ""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError("EVENTTREE_RELAY_CREDS", f"{path} cannot be read: {reason}", "Name a readable file") from None
    is_nats = text.lstrip().startswith(NATS_CREDENTIALS)
    return (path if is_nats else None), user or None, token or ("" if is_nats else text.strip())


def tls() -> ssl.SSLContext:
    """TLS 1.2 at least, verified against the usual authorities, or those of EVENTTREE_RELAY_CA."""
    try:
        context = ssl.create_default_context(cafile=os.environ.get("EVENTTREE_RELAY_CA") or None)
    except OSError as error:
        raise ConfigError("EVENTTREE_RELAY_CA", f"it cannot be read: {error.strerror}", "Name a PEM file") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
