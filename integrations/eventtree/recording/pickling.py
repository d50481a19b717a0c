"""A pickled handler: its settings without keys, which the process that unpickles takes from its own environment.

Each setting is pickled by itself, so that one that cannot be, here or there, costs no more than itself. Without its
redactor a handler would record what was to be hidden: it fails closed, records no content and masks every text.
"""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from eventtree import diagnostics
from eventtree.config import Settings
from eventtree.errors import ConfigError
from eventtree.vendors import Vendor, resolve_vendors, vendor_class

logger = logging.getLogger("eventtree")

LOST = "unpickle: settings lost"
"""Kind of failure under which handlers that were unpickled without one of their settings are counted."""


def without_secrets(settings: Settings) -> dict[str, bytes | None]:
    """The settings that were given, each pickled and without keys; None where a setting cannot be pickled."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    if settings.relay:  # there they are names
        given["vendors"] = [getattr(vendor, "name", vendor) for vendor in settings.vendors]
    else:
        given["vendors"] = [_open_settings(vendor) for vendor in resolve_vendors(settings.vendors)]
    return {name: _pickled(value) for name, value in given.items()}


def unpickle(handler_class: type[Any], pickled: Mapping[str, bytes | None]) -> Any:
    """A handler with these settings.

    Left out, with a warning, are settings that cannot be unpickled in this process, and vendors whose key is not in
    this environment.
    """
    settings: dict[str, Any] = {}
    lost = [name for name, value in pickled.items() if not _unpickled(name, value, settings)]
    if lost:
        _say_lost(lost)
    if "redact" in lost:
        settings |= {"content": False, "redact": lost_redactor}
    kept = settings.pop("vendors", ())
    vendors = [one for each in kept if (one := each if type(each) is str else _vendor(*each)) is not None]
    return handler_class(vendors=vendors, **settings)


def lost_redactor(text: str) -> str:
    """Stands for a redactor that could not be pickled: it raises, so every text is replaced.

    Raises:
        LookupError: always.
    """
    raise LookupError("the redactor was lost")


def _say_lost(names: list[str]) -> None:
    diagnostics.failures[LOST] += 1
    if diagnostics.failures[LOST] == 1:
        closed = " Without its redactor it records no content and masks all texts." if "redact" in names else ""
        logger.warning(
            "A handler was unpickled without its settings %s.%s Give it functions of a module that both processes can "
            "import, or make a handler of its own there",
            ", ".join(sorted(names)),
            closed,
        )


def _open_settings(vendor: Vendor) -> tuple[str, dict[str, Any]]:
    shown = {name: getattr(vendor, name) for name in type(vendor).model_fields}
    return vendor.kind, {name: value for name, value in shown.items() if not isinstance(value, SecretStr)}


def _vendor(kind: str, settings: dict[str, Any]) -> Vendor | None:
    try:
        return vendor_class(kind)(**settings)
    except ConfigError as error:
        logger.warning("A handler was unpickled without vendor %s: %s. What it records stays local", kind, error)
        return None


def _pickled(value: Any) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # noqa: BLE001  (pickling calls whatever the object defines)
        return None


def _unpickled(name: str, pickled: bytes | None, settings: dict[str, Any]) -> bool:
    """Add the setting to `settings`; whether that was possible."""
    if pickled is None:
        return False
    try:
        settings[name] = pickle.loads(pickled)
    except Exception:  # noqa: BLE001  (so does unpickling, and what it names may not exist here)
        return False
    return True
