"""Pickles handlers: the settings without keys, which the process that unpickles takes from its own environment.

Each setting is pickled by itself, so one that cannot be pickled or unpickled is lost alone. A handler that lost its
redactor records no content and masks every text: it would otherwise record text that the redactor hides.
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
"""Name under which handlers that lost a setting are counted among the failures."""


def without_secrets(settings: Settings) -> dict[str, bytes | None]:
    """The given settings, each pickled, without keys; None for a setting that cannot be pickled."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    if settings.relay:  # with a relay, vendors are names
        given["vendors"] = [getattr(vendor, "name", vendor) for vendor in settings.vendors]
    else:
        given["vendors"] = [_open_settings(vendor) for vendor in resolve_vendors(settings.vendors)]
    return {name: _pickled(value) for name, value in given.items()}


def unpickle(handler_class: type[Any], pickled: Mapping[str, bytes | None]) -> Any:
    """A handler with these settings.

    Settings that cannot be unpickled here and vendors without a key in this environment are left out with a warning.
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
    """Stands for a redactor that could not be pickled: it always raises, so every text is masked.

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
    """Add the setting to `settings`; returns whether it could be unpickled."""
    if pickled is None:
        return False
    try:
        settings[name] = pickle.loads(pickled)
    except Exception:  # noqa: BLE001  (unpickling calls it too, and imports modules that may not exist here)
        return False
    return True
