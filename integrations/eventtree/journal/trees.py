"""Each tree's lines in the logs, and its state by their heads; its contents stay on disk."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field

from eventtree import record
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import READ_BYTES, stretches, unframe
from eventtree.journal.scan import Entry, Scan, entries, entries_in
from eventtree.pace import let_go, paced
from eventtree.record import CLOSE, JOINED, OPEN, VENDORS, Refs

PARTS = b'"parts":'
"""Key in the close of a root whose runs were handed on. Contents may have it too, so it is only a hint."""
PINNED_BYTES = 64 * 1024 * 1024
PINNED_SECONDS = 86_400.0
"""An open tree larger or older than this is sent unfinished."""
Place = tuple[str, int, int]
"""A line: log, offset and length."""
NEAR_BYTES = 32 * 1024
"""Most bytes between two lines of a tree that are read together."""


@dataclass(slots=True, eq=False)
class LoggedTree:
    """One tree by the heads of its records: its vendors, and whether it is finished."""

    id: str
    late: bool = False
    """It has only lines recorded after the rest of the tree was sent."""
    is_resumed: bool = False
    """A vendor has settled a tree of this id before: unless its root opens here, only a part may come."""
    vendors: Refs | None = None
    """None until its root's record has been read."""
    events: int = 0
    open: dict[str, str] = field(default_factory=dict)
    """Run → the log in which it opened."""
    ended: set[str] = field(default_factory=set)
    """Runs that closed in this part but opened in an earlier one, which was sent while they were still open."""
    root_opened: bool = False
    root_closed: bool = False
    records: int = 0
    size: int = 0
    since: float = 0.0
    closed_at: float = 0.0
    places: dict[str, array[int]] = field(default_factory=dict)
    """Log → offset and length of each line there, in one flat array: a tree may have many."""
    parts: dict[str, Refs | None] = field(default_factory=dict)
    """Parts added by other processes: first run of each → vendors of its process."""
    parts_open: set[str] = field(default_factory=set)
    handed_on: int = 0
    """How often runs of the tree were handed on to another process: as many parts may come."""
    joined: int = 0
    joined_stated: int = 0
    """Events of parts, by the sums in their closes."""
    dropped: tuple[int, str] | None = None
    """Events that were accepted but never recorded, and why."""
    has_contents: bool = False
    """Whether `trees_in` has found a record of its runs that is not cleared."""
    takers: int = 0
    """Number of consumers that will take its fold."""
    kept: list[bytes] | None = None
    """Payloads of all `lines`, while `KeptLines` keeps them: its reader adds them."""

    def add(self, entry: Entry, clock: Callable[[], float] = float) -> None:
        """Add one record of the tree; `clock` gives the time it was read."""
        kind, run_id, _, name, offset, length, payload = entry
        places = self.places.get(name)
        if places is None:
            places = self.places[name] = array("q")
        places.append(offset)
        places.append(length)
        self.size += length
        self.records += 1
        if kind == OPEN:
            self.events += 1
            self.open[run_id] = name
        elif kind == CLOSE and self.open.pop(run_id, None) is None:
            self.ended.add(run_id)
        if run_id == self.id and kind in ROOT_KINDS:
            self._add_root(kind, payload, clock())
        elif (kind == OPEN and payload.find(JOINED) >= 0) or kind == VENDORS or run_id in self.parts_open:
            self._add_part(kind, run_id, payload, clock())

    def _add_root(self, kind: str, payload: bytes, now: float) -> None:
        is_close = kind == CLOSE
        if kind == OPEN:
            self.root_opened = True
        elif is_close:
            self.root_closed, self.closed_at = True, now
        # A root's close repeats its open record.
        has_parts, names = is_close and PARTS in payload, not is_close or self.vendors is None
        try:
            if names and (named := record.refs_in(payload)) is not None:
                self.vendors = named
            entry = record.decode(payload) if has_parts or kind == record.DROP else {}
        except Exception:  # noqa: BLE001  (the boundary around each record; the fold counts it as damaged)
            return
        if kind == record.DROP:
            events, reason = record.dropped_by(entry)
            self.dropped = events + (self.dropped or (0,))[0], reason
        self.handed_on += record.count_in(entry, "parts") if has_parts else 0

    def _add_part(self, kind: str, run_id: str, payload: bytes, now: float) -> None:
        try:
            entry = record.decode(payload)
        except Exception:  # noqa: BLE001  (as in `_add_root`)
            return
        if kind == OPEN and entry.get("joined") is True:
            self.joined += 1
            if "vendors" in entry:
                self.parts_open.add(run_id)
                self.parts[run_id] = record.refs_of(entry)
        elif kind == record.VENDORS and run_id in self.parts:
            self.parts[run_id] = record.refs_of(entry)
        elif kind == CLOSE and run_id in self.parts_open:
            self.parts_open.discard(run_id)
            self.closed_at = max(self.closed_at, now)
            self.joined_stated += record.events_of(entry)
            self.handed_on += record.count_in(entry, "parts")

    @property
    def lines(self) -> Iterator[Place]:
        """Place of each line."""
        for log, places in self.places.items():
            each = iter(places)
            yield from ((log, offset, length) for offset, length in zip(each, each, strict=True))

    @property
    def spans(self) -> dict[str, int]:
        """Log → end of the tree's last line there."""
        return {log: places[-2] + places[-1] for log, places in self.places.items()}

    @property
    def joined_events(self) -> int:
        """Events of parts, also with damaged records. Their own processes count them for no vendor."""
        return max(self.joined, self.joined_stated)

    @property
    def recorded(self) -> int:
        """Number of events recorded: opened, closed with a damaged open, or only counted."""
        return self.events + (self.dropped or (0,))[0] + (0 if self.late else len(self.ended))

    @property
    def is_apart(self) -> bool:
        """Whether it has parts only: the rest of the tree is in no log read so far."""
        return bool(self.parts) and not (self.root_opened or self.root_closed or self.dropped or self.late)

    @property
    def refs(self) -> Refs | None:
        """The vendors to send it to: its root's, or those of its parts' processes if it has parts only."""
        if not self.is_apart:
            return self.vendors
        found = [ref for refs in self.parts.values() for ref in refs or ()]
        return [ref for number, ref in enumerate(found) if ref not in found[:number]]

    @property
    def is_ending(self) -> bool:
        """Whether the tree will soon be due."""
        return self.root_closed or ((self.late or self.is_apart) and not self.parts_open)

    @property
    def lacks_parts(self) -> bool:
        """Whether another process may still add a part, or has the rest of the tree."""
        return self.is_apart or len(self.parts) < self.handed_on

    def is_left(self, gone: Set[str]) -> bool:
        """Whether every process that could end the tree is dead: its writers, or with parts those with open runs."""
        left = {process_of(log) for log in self.open.values()} if self.parts else set[str]()
        return (left or self.processes) <= gone

    @property
    def processes(self) -> set[str]:
        """The processes that wrote its lines."""
        return {process_of(name) for name in self.places}

    @property
    def is_whole(self) -> bool:
        """Whether every run has opened and closed here, so that nothing more can come."""
        is_closed = self.root_opened and self.root_closed and not self.open and not self.ended
        return is_closed and not self.lacks_parts

    @property
    def is_part(self) -> bool:
        """Whether its root will not open or close here any more."""
        return self.late or (self.is_resumed and not self.root_opened)

    def is_due(self, now: float, read_until: float, grace: float) -> bool:
        """Whether the tree is finished, or has waited long enough.

        `read_until` is the time up to which all its writers' logs have been read (all logs, if it lacks parts). Only
        time up to then counts as waiting: missing records may be in lines not read yet, however long that takes. A
        part that came late, or alone, must end like any run.
        """
        if self.dropped is not None:
            return True
        if self.root_closed or ((self.is_part or self.is_apart) and not self.parts_open):
            waited = read_until - max(self.closed_at, self.since)
            return waited >= (grace if self.open or self.lacks_parts else 0.0)
        return self.size > PINNED_BYTES or now - self.since > PINNED_SECONDS

    def names(self, name: str, fingerprint: str) -> bool:
        """Whether the tree is to go to this vendor."""
        return {"name": name, "fingerprint": fingerprint} in (self.refs or ())


KEPT_BYTES = 16 * 1024 * 1024
"""Most bytes of lines kept in memory."""
CLEARED = "cleared"
"""File that grows with each clearing. Lines read before it must not be shown any more."""


class KeptLines:
    """Lines kept until their tree is due: each is read and checked once, and parsed with its tree.

    They are kept as bytes: objects would take a few times as much, and slow garbage collection. Over the bound the
    oldest trees are dropped, and after a clearing all; their lines are read again from the logs.
    """

    def __init__(self, journal: Journal, most: int = KEPT_BYTES) -> None:
        """Keep at most `most` bytes."""
        self.journal = journal
        self.most = most
        self.size = 0
        self.cleared = 0
        self._trees: dict[int, LoggedTree] = {}
        """By `id` of the tree, which the entry keeps alive."""

    def begin(self, tree: LoggedTree) -> None:
        """Keep the lines a tree adds from here on: it must have none yet."""
        tree.kept = []
        self._trees[id(tree)] = tree

    def bound(self) -> None:
        """Drop the oldest trees' lines over the bound; call after each stretch."""
        while self.size > self.most:
            self.drop(next(iter(self._trees.values())))

    def take(self, tree: LoggedTree) -> list[bytes]:
        """Hand out the payloads of a tree's lines and forget them; empty if they have to be read."""
        kept, tree.kept = tree.kept, None
        self.drop(tree)
        return kept or []

    def drop(self, tree: LoggedTree) -> None:
        """Drop a tree's lines."""
        if self._trees.pop(id(tree), None) is not None:
            self.size -= tree.size
        if tree.kept is not None:
            let_go(tree.kept)
            tree.kept = None

    def has_cleared(self) -> bool:
        """Whether anything was cleared since the last call. If so, all kept lines are dropped."""
        size = self.journal.files.size(CLEARED)
        if size == self.cleared:
            return False
        self.cleared = size
        for tree in list(self._trees.values()):
            self.drop(tree)
        return True


ROOT_KINDS = frozenset({OPEN, CLOSE, record.VENDORS, record.DROP})
"""Records of a root that name its vendors or end its tree."""


CONTENTS = frozenset({OPEN, record.NOTE, CLOSE})
"""Records of runs."""
NOWHERE = array("q")


def joined(first: LoggedTree, second: LoggedTree) -> LoggedTree:
    """Two parts of a tree as one, if the first has not been sent yet."""
    dropped = [one.dropped for one in (first, second) if one.dropped is not None]
    return LoggedTree(
        first.id, late=first.late, is_resumed=first.is_resumed,
        vendors=second.vendors or first.vendors, events=first.events + second.events,
        open={run: process for run, process in first.open.items() if run not in second.ended} | second.open,
        ended=first.ended | (second.ended - first.open.keys()),
        root_opened=first.root_opened or second.root_opened, root_closed=first.root_closed or second.root_closed,
        size=first.size + second.size, since=first.since, closed_at=max(first.closed_at, second.closed_at),
        places={
            log: first.places.get(log, NOWHERE) + second.places.get(log, NOWHERE)
            for log in first.places | second.places
        },
        dropped=(sum(events for events, _ in dropped), dropped[0][1]) if dropped else None,
        parts=first.parts | second.parts, records=first.records + second.records,
        parts_open=(first.parts_open - second.ended) | second.parts_open, handed_on=first.handed_on + second.handed_on,
        joined=first.joined + second.joined, joined_stated=first.joined_stated + second.joined_stated,
    )  # fmt: skip


def part_beyond(journal: Journal, tree: LoggedTree, settled: Mapping[str, int]) -> LoggedTree | None:
    """The unsettled lines of a tree, as a late part; None without any.

    `settled` is log → offset up to which its lines are settled.
    """
    if not any(places[0] < settled.get(log, 0) for log, places in tree.places.items()):
        return tree
    left = [line for line in paced(tree.lines) if line[1] + line[2] > settled.get(line[0], 0)]
    if len(left) == tree.records:
        return tree
    part = LoggedTree(tree.id, late=True, since=tree.since)
    for entry in entries_at(journal, left):
        part.add(entry)
    part.vendors = tree.vendors
    if tree.is_apart and part.parts:
        part.late = False
    return part if part.records else None


def is_owed(journal: Journal, lines: Iterable[Place], settled: Mapping[str, int]) -> bool:
    """Whether a vendor, which has settled a tree up to `settled`, has yet to settle more of it than feedback."""
    beyond = (line for line in lines if line[1] + line[2] > settled.get(line[0], 0))
    return any(kind != record.FEEDBACK for kind, *_ in entries_at(journal, beyond))


def entries_at(journal: Journal, lines: Iterable[Place]) -> Iterator[Entry]:
    """The records of lines, without those that have been damaged meanwhile."""
    for log, offset, length in lines:
        with suppress(ValueError):
            _, payload = unframe(journal.files.read(log, offset, length).rstrip(b"\n"))
            yield from entries([(log, offset, length, payload)])


def load(journal: Journal, lines: Iterable[Place]) -> Iterator[record.Record]:
    """The records at `lines`, without lines deleted or damaged meanwhile.

    Raises:
        OSError: the disk refuses to read; a retry may succeed.
    """
    for name, start, end, group in _neighbours(lines):
        data = journal.files.read(name, start, end - start)
        for offset, length in paced(group):
            try:
                entry = record.decode(unframe(data[offset - start : offset - start + length].rstrip(b"\n"))[1])
            except Exception:  # noqa: BLE001  (the boundary around each record: one must not stop the others)
                continue
            yield entry


def bytes_at(journal: Journal, lines: Iterable[Place]) -> Iterator[bytes]:
    """The bytes of `lines` and of the short gaps between them."""
    for name, start, end, _ in _neighbours(lines):
        yield journal.files.read(name, start, end - start)


def trees_in(journal: Journal) -> dict[str, LoggedTree]:
    """Every tree of the journal, in the order they opened, with its feedback's lines, and whether it `has_contents`."""
    found: dict[str, LoggedTree] = {}
    for entry in Scan(journal).read_all():
        kind, _, tree_id, *_, payload = entry
        tree = found.get(tree_id)
        if tree is None:
            tree = found[tree_id] = LoggedTree(tree_id)
        tree.add(entry)
        tree.has_contents |= kind in CONTENTS and not record.is_cleared(payload)
    return found


def find_trees(
    journal: Journal,
    wanted: Iterable[str],
    on_line: Callable[[], None] = lambda: None,
    *,
    with_feedback: bool = False,
) -> dict[str, LoggedTree]:
    """Id of an event or a tree → its whole tree, as far as the logs have it. Reads all logs: only for rare work.

    `with_feedback` includes the lines of a tree's feedback.
    """
    ids = set(wanted)
    tree_of: dict[str, str] = {}
    for kind, run_id, tree_id, *_ in _mentioning(journal, ids, on_line):
        if kind != record.FEEDBACK:
            tree_of.update(dict.fromkeys(ids & {run_id, tree_id}, tree_id))
    trees: dict[str, LoggedTree] = {}
    for entry in _mentioning(journal, set(tree_of.values()), on_line):
        kind, _, tree_id, *_ = entry
        if tree_id in tree_of.values() and (with_feedback or kind != record.FEEDBACK):
            trees.setdefault(tree_id, LoggedTree(tree_id)).add(entry)
    return {one: trees[tree_id] for one, tree_id in tree_of.items() if tree_id in trees}


def _mentioning(journal: Journal, ids: set[str], on_line: Callable[[], None]) -> Iterator[Entry]:
    """Records of the logs that contain one of these ids. A search through its bytes spares parsing any other log."""
    needles = [one.encode("utf-8", "replace") for one in ids]
    for name in journal.logs() if needles else ():
        for lines in stretches(journal.files, name, journal.files.size(name)):
            on_line()
            if any(needle in lines for needle in needles):
                break
        else:
            continue
        for entry in entries_in(journal, name):
            on_line()
            yield entry


def _neighbours(
    lines: Iterable[tuple[str, int, int]],
) -> Iterator[tuple[str, int, int, list[tuple[int, int]]]]:
    """Groups of close lines in one log, each for one read: `(log, start, end, [(offset, length)])`."""
    name, start, end, group = "", 0, 0, list[tuple[int, int]]()
    for log, offset, length in lines:
        if log != name or offset - end > NEAR_BYTES or offset < end or end - start > READ_BYTES:
            if group:
                yield name, start, end, group
            name, start, group = log, offset, []
        group.append((offset, length))
        end = offset + length
    if group:
        yield name, start, end, group
