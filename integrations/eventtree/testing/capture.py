"""`capture()`: an app's runs as trees, for users' own tests. Nothing is sent or written to a disk."""

from __future__ import annotations

import importlib
import importlib.util
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, overload

from eventtree import config, process
from eventtree.event import EventTree
from eventtree.journal import Journal, MemoryFiles
from eventtree.journal.trees import trees_in
from eventtree.pricing.pricer import Pricer
from eventtree.recording.recorder import recorder
from eventtree.tree.stored import fold_stored
from eventtree.usage.tokenizer import Tokenizer

_FRAMEWORKS = (("langchain_core", "eventtree.langchain"), ("llama_index_instrumentation", "eventtree.llama_index"))

Pricing = tuple[Any, Tokenizer | None]
"""The settings `prices` and `tokenizer`."""


class Captured(Sequence[EventTree]):
    """The finished trees so far, in the order they opened; grows while the block runs."""

    def __init__(self, journal: Journal, prices: Any = None, tokenizer: Tokenizer | None = None) -> None:
        """Read `journal` anew each time. `prices` and `tokenizer` replace those of the handlers."""
        self._journal = journal
        self._pipelines = recorder.capture_pipelines
        self._given = (prices, tokenizer)
        settings = config.resolve()
        self._usual = (settings.prices, settings.tokenizer)
        self._pricers: list[tuple[Pricing, Pricer]] = []
        self._pricer(self._usual)

    @overload
    def __getitem__(self, index: int) -> EventTree: ...
    @overload
    def __getitem__(self, index: slice) -> list[EventTree]: ...
    def __getitem__(self, index: int | slice) -> EventTree | list[EventTree]:
        """A finished tree, or several."""
        return list(self)[index]

    def __len__(self) -> int:
        """Number of finished trees."""
        return sum(1 for _ in self)

    def __iter__(self) -> Iterator[EventTree]:
        """Finished trees: those whose root has closed."""
        process.settle()
        yield from self._folded(is_finished=True)

    def __repr__(self) -> str:
        return f"<Captured {', '.join(map(repr, self)) or 'no trees yet'}>"

    def __rich__(self) -> Any:
        from rich.console import Group

        return Group(*self)

    def _repr_html_(self) -> str:
        return "".join(tree._repr_html_() for tree in self) or "no trees yet"

    @property
    def unfinished(self) -> list[EventTree]:
        """Trees whose root is still open."""
        return list(self._folded(is_finished=False))

    def _folded(self, *, is_finished: bool) -> Iterator[EventTree]:
        self._journal.flush_held()  # records for which the app's stack had no room
        for logged in trees_in(self._journal).values():
            if logged.is_ending is is_finished:
                pricer = self._pricer(self._pricing_of(logged.id))
                tree = fold_stored(self._journal, logged, pricer)
                if tree is not None:
                    yield tree

    def wait(self, count: int = 1, timeout: float = 5.0) -> list[EventTree]:
        """The trees, once at least `count` are finished; an async stream may end after the user's await.

        Raises:
            TimeoutError: fewer have finished after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while len(self) < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(self)} of {count} trees finished within {timeout} s")
            time.sleep(0.005)
        return list(self)

    def _pricing_of(self, tree_id: str) -> Pricing:
        """The prices and tokenizer of a handler that saw the tree and has its own, else the configured ones."""
        seen = (
            (pipeline.settings.prices, pipeline.settings.tokenizer) for pipeline in self._pipelines.get(tree_id, ())
        )
        return next((pricing for pricing in seen if pricing not in (self._usual, (None, None))), self._usual)

    def _pricer(self, pricing: Pricing) -> Pricer:
        """The pricer of these settings, made once; `capture`'s own arguments replace them."""
        prices, tokenizer = self._given
        pricing = (pricing[0] if prices is None else prices, tokenizer or pricing[1])
        found = next((pricer for known, pricer in self._pricers if known == pricing), None)
        if found is None:
            found = Pricer.of(*pricing)
            self._pricers.append((pricing, found))
        return found


@contextmanager
def capture(prices: Any = None, tokenizer: Tokenizer | None = None) -> Iterator[Captured]:
    """Yield the trees of everything that runs inside the block, whichever handler sees it.

    Handlers of the app record here, unsampled, instead of into their journal and for their vendors. If the app has no
    global handler, one is set during the block, so that chains without callbacks and LlamaIndex calls are captured too.
    `prices` and `tokenizer` replace those of the handlers and of `eventtree.configure`. Do not use two blocks at the
    same time in one process.

    Raises:
        ConfigError: the table of prices is wrong.
    """
    journal = Journal(MemoryFiles())
    outer, capture_pipelines = recorder.capture_journal, recorder.capture_pipelines
    with ExitStack() as stack:
        for framework, module in _FRAMEWORKS:
            if importlib.util.find_spec(framework) is not None:
                stack.enter_context(_global_handler(importlib.import_module(module)))
        recorder.capture_journal, recorder.capture_pipelines = journal, {}
        try:
            yield Captured(journal, prices, tokenizer)
        finally:
            recorder.capture_journal, recorder.capture_pipelines = outer, capture_pipelines


@contextmanager
def _global_handler(module: Any) -> Iterator[None]:
    if module.global_handler() is not None:
        yield
        return
    module.set_global_handler(vendors=(), journal=":memory:", sample_rate=1.0)
    try:
        yield
    finally:
        module.set_global_handler(None)
