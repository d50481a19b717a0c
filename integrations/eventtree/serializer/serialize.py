"""Trees and a vendor in, requests out: `plan` is the one way, for `serialize`, `export` and delivery. Pure.

trees ──vendor.encode──▶ items ──waves──▶ groups ──request──▶ Request
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from eventtree import diagnostics
from eventtree.event import EventTree
from eventtree.pace import let_go, paced
from eventtree.serializer.packing import Group, request, waves
from eventtree.serializer.registry import resolve_vendors
from eventtree.serializer.requests import Item, Request
from eventtree.serializer.vendor import Vendor


@dataclass(slots=True)
class Plan:
    """What a vendor is to be sent for some trees, in order, and what of them it never will be."""

    waves: list[list[Group]]
    """Nothing of a wave is sent before the wave below it has been; groups of one wave may travel side by side."""
    dropped: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Tree id, and event id → why the vendor has no field for it."""
    failed: dict[str, BaseException] = field(default_factory=dict)
    """Tree id → what went wrong when the vendor encoded it."""

    def let_go(self) -> None:
        """Forget the items, now that they were sent: there may be many."""
        items = [item for wave in self.waves for group in wave for item in group]
        self.waves.clear()
        let_go(items)

    def words(self, tree_id: str, vendor: Vendor) -> str:
        """What went wrong with a tree: it is the vendor's code that failed, not its server that refused."""
        return (
            f"{vendor.name}'s own code failed: {diagnostics.described(self.failed[tree_id], type(vendor).__module__)}"
        )


def plan(
    trees: Iterable[EventTree],
    vendor: Vendor,
    *,
    more: Iterable[Item] = (),
    is_wanted: Callable[[Item], bool] | None = None,
) -> Plan:
    """Encode trees, leave out items that are not wanted, and group the rest, and `more` items, into requests.

    The one boundary around encoding: a tree that a vendor chokes on is named in `failed` and stops no other.
    """
    items: list[Item] = []
    found = Plan([])
    for tree in trees:
        try:
            encoded = vendor.encode(tree)
            fresh = [item for item in paced(encoded.items) if vendor.routes[item.route]]
        except BaseException as error:  # the boundary around each tree: one must not stop the others
            if diagnostics.must_pass(error):
                raise
            diagnostics.failed(f"encoding for {vendor.name}", error)
            found.failed[tree.id] = error
            continue
        items += fresh if is_wanted is None else filter(is_wanted, paced(fresh))
        if encoded.dropped:
            found.dropped.append((tree.id, encoded.dropped))
    found.waves = waves((*items, *more), vendor)
    return found


def serialize(trees: Iterable[EventTree], vendor: Vendor | str) -> Iterator[Request]:
    """Every request `vendor` needs for `trees`, in the order they have to be sent.

    `vendor` is a value, or a name with its settings from the environment, as for handlers. Yields `Request` values with
    `method`, `url`, `body` (JSON) and `ids` (the events inside). Values that only a reply can tell (a project's id)
    stand in the url by name; delivery looks them up, `export` shows the project's name. A tree that the vendor takes
    nothing of makes no request: logger `eventtree` warns of it, with the reason.

    Raises:
        ConfigError: it is no vendor, its name is unknown, or a setting is missing.
    """
    (taker,) = resolve_vendors((vendor,))
    planned = plan(trees, taker)
    _warn_of_drops(taker, planned)
    for wave in planned.waves:
        yield from (request(group, taker) for group in wave)


def _warn_of_drops(vendor: Vendor, planned: Plan) -> None:
    taken = {item.tree_id for wave in planned.waves for group in wave for item in group}
    left_out = (dropped.values() for tree_id, dropped in planned.dropped if tree_id not in taken)
    for reason, trees in Counter(reason for reasons in left_out for reason in set(reasons)).items():
        hint = vendor.drop_hints.get(reason, "")
        diagnostics.logger.warning("%s takes nothing of %d trees: %s. %s", vendor.name, trees, reason, hint)
    for tree_id in planned.failed:
        diagnostics.logger.warning("tree %s is left out, %s", tree_id, planned.words(tree_id, vendor))
