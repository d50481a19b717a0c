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
    """The requests of some trees for one vendor, in order, and the events that are not sent."""

    waves: list[list[Group]]
    """A wave is sent after all lower ones; groups of one wave may be sent at the same time."""
    dropped: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """Tree id, and event id → why the event is not sent."""
    failed: dict[str, BaseException] = field(default_factory=dict)
    """Tree id → the error of the vendor's `encode`."""

    def let_go(self) -> None:
        """Free the items with rests, after they were sent: there may be many."""
        items = [item for wave in self.waves for group in wave for item in group]
        self.waves.clear()
        let_go(items)

    def words(self, tree_id: str, vendor: Vendor) -> str:
        """The error of a tree in one line, which shows that the vendor's code failed, not its server."""
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
    """Encode trees, leave out items that are not wanted, and group the others, with `more` items, into requests.

    This is the boundary around encoding: a tree for which the vendor's code raises goes into `failed`, the others on.
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

    `vendor` is an object, or a name with its settings from the environment, as for handlers. Yields `Request` values
    with `method`, `url`, `body` (JSON) and `ids` (of their events). An id that only the server knows is a `{name}` in
    the url; delivery looks it up, `export` shows the project's name. A tree of which the vendor takes nothing makes no
    request: the logger `eventtree` warns of it, with the reason.

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
