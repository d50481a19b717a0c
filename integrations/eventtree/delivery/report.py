"""The law, per vendor and in events: accepted = delivered + waiting + dead + dropped(reason), across restarts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from eventtree import record
from eventtree.journal.cursor import Cursor
from eventtree.journal.journal import Journal, process_of
from eventtree.journal.line import LineReader


class Sums(BaseModel):
    """One vendor's events. `waiting` counts those recorded and not yet settled, open runs among them."""

    model_config = ConfigDict(frozen=True)

    name: str
    fingerprint: str
    accepted: int = 0
    delivered: int = 0
    waiting: int = 0
    dead: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    parked: str | None = None

    @property
    def unexplained(self) -> int:
        """Events the law does not account for: always 0, or it is a bug."""
        return self.accepted - self.delivered - self.waiting - self.dead - sum(self.dropped.values())


class Report(BaseModel):
    """What became of everything that was recorded in one journal."""

    model_config = ConfigDict(frozen=True)

    journal: str
    events: int = 0
    """Events whose records are on disk (or in memory) now."""
    vendors: dict[str, Sums] = Field(default_factory=dict)
    """By vendor name; a second destination of the same name bears its fingerprint too."""
    damaged_lines: int = 0
    lost_lines: int = 0
    unknown_models: dict[str, int] = Field(default_factory=dict)
    """Models no price is known for → how often they were met by this process."""
    failures: dict[str, int] = Field(default_factory=dict)
    """Errors inside eventtree, by kind, in this process."""

    @property
    def waiting(self) -> int:
        """Events that wait for some vendor."""
        return sum(sums.waiting for sums in self.vendors.values())

    @property
    def settled(self) -> bool:
        """Nothing waits, nothing was refused, and every event is accounted for."""
        return not any(sums.waiting or sums.dead or sums.unexplained for sums in self.vendors.values())


class _Counted:
    __slots__ = ("closed", "drop", "events", "open", "own", "spans", "vendors")

    def __init__(self) -> None:
        self.events = 0
        self.open: set[str] = set()
        self.closed = False
        self.drop = 0
        self.vendors: tuple[tuple[str, str], ...] = ()
        self.spans: dict[str, int] = {}
        self.own = False


class Census:
    """Counts the events of every tree in the logs; each call of `read` goes on where the last stopped."""

    def __init__(self, journal: Journal) -> None:
        """Count `journal`, nothing read yet."""
        self.journal = journal
        self.trees: dict[str, _Counted] = {}
        self.readers: dict[str, LineReader] = {}

    def read(self) -> None:
        """Take in what has been written since; forget logs that are gone."""
        names = set(self.journal.logs())
        if self.readers.keys() - names:
            self.readers.clear()
            self.trees.clear()
        for name in sorted(names):
            reader = self.readers.setdefault(name, LineReader(self.journal.files, name))
            own = process_of(name) == self.journal.process
            while lines := reader.read():
                for line in lines:
                    self._count(line.payload, name, line.offset + line.length, own)

    def _count(self, payload: bytes, log: str, end: int, own: bool) -> None:
        try:
            kind, run_id, tree_id = record.head(payload)
        except ValueError:
            return
        if not tree_id or kind == record.FEEDBACK:
            return
        tree = self.trees.setdefault(tree_id, _Counted())
        tree.spans[log] = end
        tree.own = tree.own or own
        if kind == record.OPEN:
            tree.events += 1
            tree.open.add(run_id)
        elif kind == record.CLOSE:
            tree.open.discard(run_id)
        if run_id == tree_id and kind in (record.OPEN, record.CLOSE, record.VENDORS, record.DROP):
            self._root(tree, kind, payload)

    @staticmethod
    def _root(tree: _Counted, kind: str, payload: bytes) -> None:
        if kind == record.CLOSE:
            tree.closed = True
            if tree.vendors:
                return
        entry = record.decode(payload)
        tree.vendors = tuple((ref["name"], ref["fingerprint"]) for ref in entry.get("vendors") or ())
        if kind == record.DROP:
            tree.drop, tree.closed = entry["events"], True

    def waiting(self, key: tuple[str, str], cursor: Cursor) -> tuple[int, int]:
        """Events of unsettled trees that name a vendor, and how many of those trees are finished and this process's."""
        events = finished = 0
        for tree_id, tree in self.trees.items():
            if key in tree.vendors and not cursor.is_settled(tree_id, tree.spans):
                events += tree.events + tree.drop
                finished += tree.own and tree.closed
        return events, finished

    def keys(self) -> set[tuple[str, str]]:
        """Every vendor that a tree names."""
        return {key for tree in self.trees.values() for key in tree.vendors}


def cursor_keys(journal: Journal) -> set[tuple[str, str]]:
    """Every vendor that has a cursor: `(name, fingerprint)`."""
    names = (name.removesuffix(".cursor") for name in journal.files.names() if name.endswith(".cursor"))
    return {(name.rsplit(".", 1)[0], name.rsplit(".", 1)[1]) for name in names}


def sums_of(key: tuple[str, str], cursor: Cursor, unsettled: int) -> Sums:
    """One vendor's sums: what its cursor says, and `unsettled` events of trees it has not settled."""
    accepted = cursor.accepted + unsettled
    dropped = {reason: count for reason, count in sorted(cursor.dropped.items()) if count}
    # Part of an unsettled tree may be with the vendor already.
    partly = cursor.delivered + cursor.dead + sum(dropped.values()) - cursor.accepted
    return Sums(
        name=key[0], fingerprint=key[1], accepted=accepted, delivered=cursor.delivered, dead=cursor.dead,
        waiting=max(0, unsettled - max(0, partly)), dropped=dropped, parked=cursor.parked,
    )  # fmt: skip


def _all_sums(journal: Journal, census: Census) -> list[Sums]:
    """Sums of every vendor named or served; of two destinations of one name, one with events comes first."""
    found = []
    for key in census.keys() | cursor_keys(journal):
        cursor = Cursor(journal.files, f"{key[0]}.{key[1]}.cursor")
        found.append(sums_of(key, cursor, census.waiting(key, cursor)[0]))
    return sorted(found, key=lambda sums: (sums.name, not sums.accepted, sums.fingerprint))


def make_report(journal: Journal, census: Census | None = None, more: Mapping[str, object] | None = None) -> Report:
    """Count the journal as it stands now."""
    census = census or Census(journal)
    census.read()
    found: dict[str, Sums] = {}
    for sums in _all_sums(journal, census):
        if sums.name not in found:
            found[sums.name] = sums
        elif sums.accepted:
            found[f"{sums.name}.{sums.fingerprint}"] = sums
    damage = Counter({"bad": 0, "lost": 0})
    for reader in census.readers.values():
        damage.update(bad=reader.damage.bad_lines, lost=reader.damage.lost)
    return Report(
        journal=getattr(getattr(journal.files, "folder", None), "__str__", lambda: ":memory:")(),
        events=sum(tree.events for tree in census.trees.values()),
        vendors=found,
        damaged_lines=damage["bad"],
        lost_lines=damage["lost"],
        **(more or {}),
    )
