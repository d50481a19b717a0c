"""The state of a tree at each vendor, and the exact requests to it."""

from __future__ import annotations

from typing import Any

from eventtree.delivery.dead_letters import Numbered, dead_key, letters_in
from eventtree.delivery.report import make_report
from eventtree.delivery.resend import resend_letters
from eventtree.delivery.shipper import all_shippers
from eventtree.journal import Journal
from eventtree.query import Index, Opened
from eventtree.serializer.packing import export_url, request
from eventtree.serializer.serialize import plan
from eventtree.summary import report_notes
from eventtree.vendors import Vendor, vendor_class
from eventtree.view.shape import PIECE_BYTES, Json

MOST_LETTERS = 200
"""Dead letters in one answer, newest first."""
RESEND_SECONDS = 60.0


def delivery_of(index: Index, opened: Opened) -> list[Json]:
    """The state of a tree at each vendor it names, with the vendor's dead letters of it."""
    letters = [letter_of(one) for one in letters_in(index.journal) if one.letter["tree"] == opened.tree.id]
    return [
        {
            "vendor": name.rpartition(".")[0], "name": name, **delivery._asdict(),
            "letters": [one for one in letters if one["name"] == name][:MOST_LETTERS],
        }
        for name, delivery in index.deliveries(opened).items()
    ]  # fmt: skip


def delivery_in(journal: Journal) -> Json:
    """The report of a journal, and its newest dead letters."""
    letters = sorted(letters_in(journal), key=lambda one: -one.letter["at"])
    shown = [letter_of(one) for one in letters[:MOST_LETTERS]]
    report = make_report(journal)
    notes = list(report_notes(report))
    return {"report": report.model_dump(mode="json"), "notes": notes, "letters": shown, "dead": len(letters)}


def letter_of(one: Numbered) -> Json:
    """A dead letter without its content, which the page shows beside the event."""
    copied = {name: one.letter[name] for name in ("tree", "events", "status", "words")}
    return {"vendor": one.vendor, "name": one.name, "id": _id(one), **copied, "at": one.letter["at"] / 1e9}


def resend(journal: Journal, wanted: Any) -> list[Json]:
    """Send the wanted dead letters again; returns the result for each vendor."""
    return [one._asdict() for one in resend_letters(journal, chosen(journal, wanted), RESEND_SECONDS)]


def chosen(journal: Journal, wanted: Any) -> list[Numbered]:
    """The dead letters with these names and ids: `[{"name", "id"}]`."""
    listed = wanted if isinstance(wanted, list) else ()
    ids = [(one.get("name"), one.get("id")) for one in listed if isinstance(one, dict)]
    return [one for one in letters_in(journal) if (one.name, _id(one)) in ids]


def requests_of(journal: Journal, opened: Opened, name: str, event_id: str) -> Json:
    """The requests that carry one event to a vendor, each with the event's part of its body.

    `own` is true if they are made with the settings that the tree was recorded for.

    Raises:
        ConfigError: the vendor is none of ours, or its settings are wrong.
    """
    vendor = _settings_of(journal, opened, name)
    planned = plan([opened.tree], vendor)
    groups = [group for wave in planned.waves for group in wave]
    carrying = [group for group in groups if any(event_id in item.event_ids for item in group)]
    made = [request(group, vendor) for group in carrying]
    failed = planned.failed.get(opened.tree.id)
    dropped = next((reasons[event_id] for _, reasons in planned.dropped if event_id in reasons), None)
    return {
        "requests": [
            {
                "method": one.method, "url": export_url(one.url, vendor), "headers": dict(one.headers),
                "items": len(one.items), "body": _text(one.content),
                "parts": [_text(item.content) for item in one.items if event_id in item.event_ids],
            }
            for one in made
        ],
        "own": f"{name}.{vendor.fingerprint(journal.salt)}" in opened.vendors,
        "dropped": dropped, "hint": vendor.drop_hints.get(dropped or "", ""),
        "failed": None if failed is None else f"{type(failed).__name__}: {failed}",
    }  # fmt: skip


def _settings_of(journal: Journal, opened: Opened, name: str) -> Vendor:
    """The vendor with the settings that this process delivers with, else with those of `eventtree export`."""
    for shipper in all_shippers():
        vendor = shipper.vendors.get(name) if shipper.journal is journal else None
        if vendor is not None and f"{name}.{vendor.fingerprint(journal.salt)}" in opened.vendors:
            return vendor
    return vendor_class(name).for_export(from_environment=True)


def _id(one: Numbered) -> list[str]:
    """The identity of a dead letter; its time as text, since JavaScript's numbers are exact only to 53 bits."""
    return [str(part) for part in dead_key(one.letter)]


def _text(content: bytes) -> str:
    return content[:PIECE_BYTES].decode("utf-8", "replace")
