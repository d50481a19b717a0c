"""A pickled handler: its settings without keys, which the process that unpickles takes from its own environment."""

from __future__ import annotations

import logging
import pickle
from typing import Any

from pydantic import SecretStr

from eventtree.config import Settings
from eventtree.errors import ConfigError
from eventtree.vendors import Vendor, resolve_vendors, vendor_class

logger = logging.getLogger("eventtree")


def without_secrets(settings: Settings) -> dict[str, Any]:
    """The settings that were given, picklable, without keys. What cannot be pickled is left out."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    given["vendors"] = [_open_settings(vendor) for vendor in resolve_vendors(settings.vendors)]
    return {name: value for name, value in given.items() if _is_picklable(value)}


def unpickle(handler_class: type[Any], settings: dict[str, Any]) -> Any:
    """A handler with these settings; vendors whose key is not in this environment are left out, and said."""
    vendors = [vendor for kept in settings.pop("vendors", ()) if (vendor := _vendor(*kept)) is not None]
    return handler_class(vendors=vendors, **settings)


def _open_settings(vendor: Vendor) -> tuple[str, dict[str, Any]]:
    shown = {name: getattr(vendor, name) for name in type(vendor).model_fields}
    return vendor.kind, {name: value for name, value in shown.items() if not isinstance(value, SecretStr)}


def _vendor(kind: str, settings: dict[str, Any]) -> Vendor | None:
    try:
        return vendor_class(kind)(**settings)
    except ConfigError as error:
        logger.warning("A handler was unpickled without vendor %s: %s. What it records stays local", kind, error)
        return None


def _is_picklable(value: Any) -> bool:
    try:
        pickle.dumps(value)
    except Exception:  # noqa: BLE001  (pickling calls whatever the object defines)
        return False
    return True
