"""Where the lines of each tree stand in the logs, and its state by their heads; its contents stay on disk."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass, field

from eventtree import record
from eventtree.journal.folder import process_of
from eventtree.journal.journal import Journal
from eventtree.journal.line import READ_BYTES, Line, stretches, unframe
from eventtree.journal.scan import Entry, Scan, entries_in, entry_of
from eventtree.pace import let_go, paced
from eventtree.record import CLOSE, OPEN, Refs

PARTS = b'"parts":'
"""What stands in the close of a root whose runs were handed on; contents may hold it too, so it is only a hint."""
PINNED_BYTES = 64 * 1024 * 1024
PINNED_SECONDS = 86_400.0
"""A tree that holds back more than this goes out as it is."""
Place = tuple[str, int, int]
"""A line: its log, its offset, its length."""
NEAR_BYTES = 32 * 1024
"""Records of a tree no further apart than this are read together."""


@dataclass(slots=True, eq=False)
class LoggedTree:
    """One tree by the heads of its records: who gets it, and whether it is finished."""

    id: str
    late: bool = False
    """It holds only lines that were recorded after the rest of the tree was sent."""
    is_resumed: bool = False
    """Some vendor has settled a tree of this id before: unless its root opens here, nothing but a part may come."""
    vendors: Refs | None = None
    """None until its root's record has been seen."""
    events: int = 0
    open: dict[str, str] = field(default_factory=dict)
    """Run → the log in which it opened."""
    ended: set[str] = field(default_factory=set)
    """Runs that closed in this part but opened in an earlier one, which was sent while they were still open."""
    root_opened: bool = False
    root_closed: bool = False
    size: int = 0
    since: float = 0.0
    closed_at: float = 0.0
    places: dict[str, array[int]] = field(default_factory=dict)
    """Log → offset and length of each line there, one after the other: a tree may have many."""
    parts: dict[str, Refs | None] = field(default_factory=dict)
    """Parts that other processes added: the first run of each → the vendors of its process."""
    parts_open: set[str] = field(default_factory=set)
    handed_on: int = 0
    """How often runs of the tree were handed on: so many parts may come."""
    joined: int = 0
    joined_told: int = 0
    """The same as the closes of parts say it."""
    dropped: tuple[int, str] | None = None
    """Events that were accepted but never recorded, and why."""
    takers: int = 0
    """Consumers that will ask for its fold."""
    kept: list[bytes] | None = None
    """What all `lines` hold, where that is kept (`KeptLines`)."""

    @property
    def records(self) -> int:
        """How many lines it has."""
        return sum(map(len, self.places.values())) // 2

    @property
    def has_runs(self) -> bool:
        """Whether there is more of it than feedback, or the count of what somebody has cleared."""
        is_counted = self.dropped is not None and self.dropped[1] != "by_user"
        return bool(self.events or self.ended or self.root_opened or self.root_closed or is_counted)

    def add(self, entry: Entry, clock: Callable[[], float] = float) -> None:
        """Take one more record of the tree; the clock says when it was seen."""
        kind, run_id, _, (name, offset, length, _, payload) = entry
        places = self.places.get(name)
        if places is None:
            places = self.places[name] = array("q")
        places.append(offset)
        places.append(length)
        self.size += length
        if self.kept is not None:
            self.kept.append(payload)
        if kind == OPEN:
            self.events += 1
            self.open[run_id] = name
        elif kind == CLOSE and self.open.pop(run_id, None) is None:
            self.ended.add(run_id)
        if run_id == self.id and kind in ROOT_KINDS:
            self._add_root(kind, payload, clock())
        elif (kind == OPEN and record.JOINED in payload) or kind == record.VENDORS or run_id in self.parts_open:
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
            # Less what was read before somebody cleared it; what another process added may have come since.
            joined = record.count_in(entry, "joined")
            known = 0 if self.dropped is None else self.dropped[0]
            before = known if self.is_part else record.count_in(entry, "before")
            rest = max(0, before + events - joined - self.events + self.joined) + max(0, joined - self.joined)
            self.dropped, self.joined_told = (rest, reason), self.joined_told + joined
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
            self.joined_told += record.events_of(entry)
            self.handed_on += record.count_in(entry, "parts")

    @property
    def lines(self) -> Iterator[Place]:
        """Each line."""
        for log, places in self.places.items():
            each = iter(places)
            yield from ((log, offset, length) for offset, length in zip(each, each, strict=True))

    @property
    def spans(self) -> dict[str, int]:
        """Log → where the tree's last line ends there."""
        return {log: places[-2] + places[-1] for log, places in self.places.items()}

    @property
    def joined_events(self) -> int:
        """Events of parts, which their processes have counted for no vendor; also those whose records are damaged."""
        return max(self.joined, self.joined_told)

    @property
    def recorded(self) -> int:
        """How many events were recorded: opened, closed though the start is damaged, or only counted."""
        if self.dropped is not None:  # those that ended after somebody cleared the tree are counted with it
            return self.events + self.dropped[0]
        return self.events + (0 if self.late else len(self.ended))

    @property
    def is_apart(self) -> bool:
        """Whether it holds parts only: the rest of the tree is in no log that was read."""
        return bool(self.parts) and not (self.root_opened or self.root_closed or self.dropped or self.late)

    @property
    def refs(self) -> Refs | None:
        """The vendors it goes to: its root's; of parts alone, those of their processes."""
        if not self.is_apart:
            return self.vendors
        found = [ref for refs in self.parts.values() for ref in refs or ()]
        return [ref for number, ref in enumerate(found) if ref not in found[:number]]

    @property
    def is_ending(self) -> bool:
        """Whether it will be due before long."""
        return self.root_closed or ((self.late or self.is_apart) and not self.parts_open)

    @property
    def lacks_parts(self) -> bool:
        """Whether other processes may yet add to it, or have the rest of it."""
        return self.is_apart or len(self.parts) < self.handed_on

    def is_left(self, gone: Set[str]) -> bool:
        """Whether nobody lives who could end it: of a tree of several processes, those whose runs are open."""
        left = {process_of(log) for log in self.open.values()} if self.parts else set[str]()
        return (left or self.processes) <= gone

    @property
    def processes(self) -> set[str]:
        """The processes that wrote its lines."""
        return {process_of(name) for name in self.places}

    @property
    def is_whole(self) -> bool:
        """Whether every run has opened and closed here: nothing more can be expected of the tree."""
        is_closed = self.root_opened and self.root_closed and not self.open and not self.ended
        return is_closed and not self.lacks_parts

    @property
    def is_part(self) -> bool:
        """Whether its root cannot be expected to open or close here any more."""
        return self.late or (self.is_resumed and not self.root_opened)

    def is_due(self, now: float, read_until: float, grace: float) -> bool:
        """Whether the tree is finished, or has waited long enough.

        `read_until` is the time up to which all its writers' logs have been read (of one that lacks parts, all logs).
        What a tree still lacks may stand in what has not been read, however long that takes, so only time up to then
        counts as waiting. A part that came late, or alone, is waited for to its end like any run.
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
"""Bytes of what was read that are kept."""
CLEARED = "cleared"
"""File that grows with each clearing: what was read of the logs before is not to be shown any more."""


class KeptLines:
    """What was read and waits for its tree to be due: so a line is read and checked once, and parsed with its tree.

    As bytes: objects would take a few times as much, and hold up the collector. They are bounded; the oldest trees give
    way, and what was read before somebody cleared something. Those are read again from the logs.
    """

    def __init__(self, journal: Journal, most: int = KEPT_BYTES) -> None:
        """Keep at most so many bytes."""
        self.journal = journal
        self.most = most
        self.size = 0
        self.cleared = 0
        self._trees: dict[int, LoggedTree] = {}
        """By the identity of the logged tree, which the entry keeps alive."""

    def begin(self, tree: LoggedTree) -> None:
        """Keep what a tree takes from here on, which is all of it."""
        tree.kept = []
        self._trees[id(tree)] = tree

    def bound(self) -> None:
        """Let the oldest trees give way where there is too much; after each stretch that was read."""
        while self.size > self.most:
            self.drop(next(iter(self._trees.values())))

    def take(self, tree: LoggedTree) -> list[bytes]:
        """What the lines of a tree hold, which is not kept any longer; nothing where they have to be read."""
        kept, tree.kept = tree.kept, None
        self.drop(tree)
        return kept or []

    def drop(self, tree: LoggedTree) -> None:
        """Keep nothing of a tree."""
        if self._trees.pop(id(tree), None) is not None:
            self.size -= tree.size
        if tree.kept is not None:
            let_go(tree.kept)
            tree.kept = None

    def has_cleared(self) -> bool:
        """Whether something was cleared since the last look: then nothing that was read before is kept."""
        size = self.journal.files.size(CLEARED)
        if size == self.cleared:
            return False
        self.cleared = size
        for tree in list(self._trees.values()):
            self.drop(tree)
        return True


ROOT_KINDS = frozenset({OPEN, CLOSE, record.VENDORS, record.DROP})
"""Records of a root that say where its tree goes, or that it has ended."""


NOWHERE = array("q")


def joined(first: LoggedTree, second: LoggedTree) -> LoggedTree:
    """Two parts of a tree as one, where the first has not gone out yet."""
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
        parts=first.parts | second.parts,
        parts_open=(first.parts_open - second.ended) | second.parts_open, handed_on=first.handed_on + second.handed_on,
        joined=first.joined + second.joined, joined_told=first.joined_told + second.joined_told,
    )  # fmt: skip


def part_beyond(journal: Journal, tree: LoggedTree, settled: Mapping[str, int]) -> LoggedTree | None:
    """The lines of a tree that are not settled, as a late part; None if there are none.

    `settled` says up to where its lines are, by log.
    """
    if not any(places[0] < settled.get(log, 0) for log, places in tree.places.items()):
        return tree
    left = [line for line in paced(tree.lines) if line[1] + line[2] > settled.get(line[0], 0)]
    if len(left) == tree.records:
        return tree
    part = LoggedTree(tree.id, late=True, since=tree.since)
    for line in left:
        entry = entry_at(journal, line)
        if entry is not None:
            part.add(entry)
    part.vendors = tree.vendors
    if tree.is_apart and part.parts:
        part.late = False
    return part if part.records else None


def entry_at(journal: Journal, line: Place) -> Entry | None:
    """The record of a line; None where that was damaged meanwhile."""
    log, offset, length = line
    try:
        seq, payload = unframe(journal.files.read(log, offset, length).rstrip(b"\n"))
    except ValueError:
        return None
    return entry_of(Line(log, offset, length, seq, payload))


def load(journal: Journal, lines: Iterable[Place]) -> Iterator[record.Record]:
    """The records at `lines`; what was deleted or damaged meanwhile is left out.

    Raises:
        OSError: the disk refuses to read what is there; another time it may not.
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
    """The bytes of `lines` and of what little stands between them."""
    for name, start, end, _ in _neighbours(lines):
        yield journal.files.read(name, start, end - start)


def trees_in(journal: Journal) -> dict[str, LoggedTree]:
    """Every tree of the journal, in the order they opened; feedback stands among a tree's lines."""
    found: dict[str, LoggedTree] = {}
    for entry in Scan(journal).read_all():
        tree = found.get(entry.tree_id)
        if tree is None:
            tree = found[entry.tree_id] = LoggedTree(entry.tree_id)
        tree.add(entry)
    return found


def find_trees(
    journal: Journal,
    wanted: Iterable[str],
    on_line: Callable[[], None] = lambda: None,
    *,
    with_feedback: bool = False,
) -> dict[str, LoggedTree]:
    """Id of an event or of a tree → its whole tree, as far as the logs have it. Reads all logs: only for rare work.

    Feedback stands among a tree's lines only where it is asked for.
    """
    ids = set(wanted)
    tree_of: dict[str, str] = {}
    for entry in _mentioning(journal, ids, on_line):
        if entry.kind != record.FEEDBACK:
            tree_of.update(dict.fromkeys(ids & {entry.run_id, entry.tree_id}, entry.tree_id))
    trees: dict[str, LoggedTree] = {}
    for entry in _mentioning(journal, set(tree_of.values()), on_line):
        if entry.tree_id in tree_of.values() and (with_feedback or entry.kind != record.FEEDBACK):
            trees.setdefault(entry.tree_id, LoggedTree(entry.tree_id)).add(entry)
    return {one: trees[tree_id] for one, tree_id in tree_of.items() if tree_id in trees}


def _mentioning(journal: Journal, ids: set[str], on_line: Callable[[], None]) -> Iterator[Entry]:
    """Records of the logs in which one of these ids stands: one search through a log's bytes spares reading it."""
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
    """Lines that stand close together in one log, as one stretch to read: `(log, start, end, [(offset, length)])`."""
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
