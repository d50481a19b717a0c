"""Own functions in the tree: every form of function, beneath and around both frameworks, with nothing left behind."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
import weakref
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from llama_index_instrumentation import get_dispatcher

import eventtree
from eventtree import ConfigError, diagnostics
from eventtree.event import EventTree
from eventtree.langchain import CallbackHandler
from eventtree.recording.recorder import recorder
from eventtree.recording.remote import inner
from eventtree.testing import capture
from eventtree.testing.capture import Captured

dispatcher = get_dispatcher(__name__)


@pytest.fixture
def trees() -> Iterator[Captured]:
    with capture() as found:
        yield found
    assert not diagnostics.failures


def outline(tree: EventTree) -> list[str]:
    return [
        f"{'  ' * depth}{event.kind} {event.name.rpartition('.')[2]} {event.status}" for depth, event in tree.walk()
    ]


@eventtree.observe
def add(a: int, b: int = 2, *more: int, scale: int = 1, **named: int) -> int:
    return (a + b + sum(more) + sum(named.values())) * scale


def test_a_function_is_a_run_with_its_arguments_and_result(trees: Captured) -> None:
    assert add(1, 2, 3, scale=2, x=4) == 20
    [tree] = trees
    assert outline(tree) == ["chain add ok"]
    assert tree.root.inputs == {"a": 1, "b": 2, "more": [3], "scale": 2, "x": 4}
    assert (tree.root.outputs, tree.root.framework) == (20, None)


def test_calls_hang_below_the_call_around_them(trees: Captured) -> None:
    @eventtree.observe(name="outer", kind="agent")
    def outer() -> int:
        return add(1) + add(2)

    assert outer() == 7
    [tree] = trees
    assert outline(tree) == ["agent outer ok", "  chain add ok", "  chain add ok"]
    assert inner.get() is None


def test_a_coroutine_is_timed_to_its_end_and_gathered_ones_keep_their_parents(trees: Captured) -> None:
    @eventtree.observe(name="leaf", kind="tool")
    async def leaf(number: int) -> int:
        await asyncio.sleep(0.001)
        return add(number)

    @eventtree.observe(name="branch")
    async def branch(number: int) -> int:
        found = await asyncio.gather(leaf(number), asyncio.to_thread(add, number))
        return sum(found)

    @eventtree.observe(name="root")
    async def root() -> int:
        return sum(await asyncio.gather(*(branch(number) for number in range(100))))

    async def main() -> None:
        assert await root() == sum(2 * (number + 2) for number in range(100))
        assert inner.get() is None

    assert inspect.iscoroutinefunction(leaf)
    asyncio.run(main())
    [tree] = trees
    assert len(tree.events) == 1 + 100 * 4
    by_id = {event.id: event for event in tree.events}
    for event in tree.events[1:]:
        above = by_id[event.parent_id or ""]
        assert (above.name, event.name.rpartition(".")[2]) in {
            ("root", "branch"), ("branch", "leaf"), ("branch", "add"), ("leaf", "add"),
        }  # fmt: skip
        if above.name == "leaf":
            assert above.inputs["number"] == event.inputs["a"]
    assert not recorder.runs


def test_methods_are_seen_without_their_objects(trees: Captured) -> None:
    class Bot:
        def __init__(self) -> None:
            self.asked = 0

        @eventtree.observe
        def ask(self, text: str) -> str:
            self.asked += 1
            return text.upper()

        @eventtree.observe
        @staticmethod
        def plain(text: str) -> str:
            return text

        @eventtree.observe(kind="tool")
        @classmethod
        def made(cls, text: str) -> str:
            return cls.__name__ + text

        @classmethod
        @eventtree.observe
        def below(cls, text: str) -> str:
            return text

        @property
        @eventtree.observe
        def size(self) -> int:
            return 3

    bot = Bot()
    assert [bot.ask("a"), bot.plain("b"), Bot.made("c"), bot.below("d"), bot.size] == ["A", "b", "Botc", "d", 3]
    assert bot.asked == 1
    assert [tree.root.inputs for tree in trees] == [*({"text": one} for one in "abcd"), {}]
    assert next(iter(trees)).root.name.rpartition("test_")[2].partition(".")[2] == "Bot.ask"


def test_an_answer_that_is_left_out_is_counted_all_the_same(trees: Captured) -> None:
    counts = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    answer = {"model": "gpt-4o", "choices": [{"message": {"role": "assistant", "content": "secret"}}], "usage": counts}

    @eventtree.observe(kind="model", outputs=False)
    def ask(question: str) -> dict[str, Any]:
        return answer

    assert ask("?") is answer
    root = trees[0].root
    assert (root.outputs, root.model, root.usage and root.usage.total_tokens) == (None, "gpt-4o", 9)


def test_what_is_captured_can_be_chosen(trees: Captured) -> None:
    @eventtree.observe(inputs=["b"], outputs=False, metadata={"team": "blue"}, tags=["t"])
    def chosen(a: str, b: str) -> str:
        return a + b

    @eventtree.observe(inputs=False)
    def nothing(a: str) -> str:
        return a

    chosen("x", b="y")
    nothing("x")
    one, two = (tree.root for tree in trees)
    assert (one.inputs, one.outputs, one.metadata, one.tags) == ({"b": "y"}, None, {"team": "blue"}, ("t",))
    assert (two.inputs, two.outputs) == (None, "x")


def test_errors_pass_as_they_are(trees: Captured) -> None:
    failure = ValueError("no")

    @eventtree.observe
    def fails() -> None:
        raise failure

    @eventtree.observe
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(ValueError, match="no") as caught:
        fails()
    assert caught.value is failure
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    one, two = (tree.root for tree in trees)
    assert (one.status, one.error and one.error.type, one.error and one.error.message) == ("error", "ValueError", "no")
    assert (two.status, two.error) == ("cancelled", None)
    with pytest.raises(TypeError, match="missing 1 required"):
        add()  # type: ignore[call-arg]


def test_a_generator_is_never_read_but_by_its_reader(trees: Captured) -> None:
    made = []

    @eventtree.observe
    def numbers(most: int) -> Iterator[int]:
        for number in range(most):
            made.append(number)
            add(number)
            got = yield number
            assert got in (None, "sent")
        return None

    assert inspect.isgeneratorfunction(numbers)
    generator: Any = numbers(3)
    assert not made
    assert next(generator) == 0
    add(10)  # what the reader does between two items is no part of the generator
    assert generator.send("sent") == 1
    assert made == [0, 1]
    assert inner.get() is None
    assert list(generator) == [2]
    apart, whole = sorted(trees, key=lambda tree: len(tree.events))
    assert outline(whole) == ["chain numbers ok", *["  chain add ok"] * 3]
    assert whole.root.outputs == [0, 1, 2]
    assert apart.root.inputs == {"a": 10}


def test_what_is_thrown_in_is_for_the_generator(trees: Captured) -> None:
    @eventtree.observe
    def patient() -> Iterator[str]:
        try:
            yield "a"
        except KeyError:
            yield "b"

    generator: Any = patient()
    assert next(generator) == "a"
    assert generator.throw(KeyError("x")) == "b"
    assert list(generator) == []
    [tree] = trees
    assert (tree.root.status, tree.root.outputs) == ("ok", "ab")


def test_an_abandoned_generator_ends_as_cancelled_in_whatever_context(trees: Captured) -> None:
    closed = []

    @eventtree.observe
    def endless() -> Iterator[str]:
        try:
            while True:
                yield "x"
        finally:
            closed.append(inner.get())

    generators: list[Any] = [endless() for _ in range(3)]
    with eventtree.span("root"):
        for one in generators:
            contextvars.copy_context().run(next, one)
        thread = threading.Thread(target=lambda: next(generators[0]))
        thread.start()
        thread.join()
        for _ in endless():
            break
    del one
    generators.clear()
    gc.collect()
    assert inner.get() is None
    assert len(closed) == 4
    [tree] = trees
    assert [event.status for event in tree.events] == ["ok", *["cancelled"] * 4]
    assert sorted(event.outputs for event in tree.events[1:]) == ["x", "x", "x", "xx"]


def test_what_a_generator_does_as_it_is_closed_hangs_below_it(trees: Captured) -> None:
    @eventtree.observe
    def read(stream: str) -> Iterator[str]:
        try:
            yield stream
        finally:
            with eventtree.span("release", kind="tool"):
                pass

    @eventtree.observe
    async def aread(stream: str) -> AsyncIterator[str]:
        try:
            yield stream
        finally:
            await asyncio.sleep(0)
            with eventtree.span("release", kind="tool"):
                pass

    async def main() -> None:
        one: Any = aread("x")
        await anext(one)
        await one.aclose()

    one: Any = read("x")
    next(one)
    one.close()
    asyncio.run(main())
    assert [outline(tree)[1:] for tree in trees] == [["  tool release ok"]] * 2
    assert {tree.root.status for tree in trees} == {"cancelled"}
    assert inner.get() is None


def test_an_async_generator_keeps_its_context_to_itself(trees: Captured) -> None:
    @eventtree.observe(name="ticks")
    async def ticks(most: int) -> AsyncIterator[int]:
        for number in range(most):
            await asyncio.sleep(0)
            add(number)
            yield number

    async def main() -> None:
        assert [number async for number in ticks(3)] == [0, 1, 2]
        one = ticks(9)
        first = asyncio.create_task(anext(one))  # type: ignore[arg-type]
        assert await first == 0
        assert await anext(one) == 1
        await one.aclose()  # type: ignore[attr-defined]
        async for _ in ticks(9):
            assert inner.get() is None
            break
        gc.collect()
        await asyncio.sleep(0.01)

    assert inspect.isasyncgenfunction(ticks)
    asyncio.run(main())
    statuses = sorted((tree.root.status.value, len(tree.events)) for tree in trees)
    assert statuses == [("cancelled", 2), ("cancelled", 3), ("ok", 4)]


def test_a_generator_that_ends_as_it_is_given_up_is_cancelled(trees: Captured) -> None:
    @eventtree.observe
    def read() -> Iterator[int]:
        try:
            yield 1
        except GeneratorExit:
            return

    @eventtree.observe
    async def aread() -> AsyncIterator[int]:
        try:
            yield 1
        except GeneratorExit:
            return

    async def main() -> None:
        one: Any = aread()
        await anext(one)
        await one.aclose()

    one: Any = read()
    next(one)
    one.close()
    asyncio.run(main())
    assert [(tree.root.status.value, tree.root.outputs) for tree in trees] == [("cancelled", [1])] * 2


def test_what_a_generator_is_given_lives_no_longer_than_it(trees: Captured) -> None:
    class Given:
        pass

    @eventtree.observe
    def read(given: Given) -> Iterator[int]:
        yield 1

    given = Given()
    seen, one = weakref.ref(given), read(given)
    next(one)
    gc.disable()
    try:
        with pytest.raises(KeyError):
            one.throw(KeyError())  # type: ignore[attr-defined]
        del one, given
        assert seen() is None
    finally:
        gc.enable()
    assert trees[0].root.status == "error"


def test_arguments_are_named_as_the_function_names_them(trees: Captured) -> None:
    @eventtree.observe
    def odd(first: int, /, found: int = 1, *args: int, self: int = 2, kind: int = 3, **kwargs: int) -> None: ...

    odd(1, 2, 3, 4, self=5, first=6, other=7)
    odd(1)
    bound = eventtree.observe(functools.partial(add, 1, scale=2))
    assert bound(3) == 8
    for wrong in ((), (1, 2, 3)):
        with pytest.raises(TypeError, match=r"two\(\) (missing|takes)"):
            eventtree.observe(two)(*wrong)
    inputs = [tree.root.inputs for tree in trees]
    assert inputs[0] == {"first": 6, "found": 2, "args": [3, 4], "self": 5, "other": 7}
    assert inputs[1:3] == [{"first": 1}, {"b": 3}]
    assert trees[2].root.name == "add"


def two(a: int, b: int) -> None: ...


@pytest.mark.parametrize("below", range(4))
def test_a_recursion_without_end_is_the_apps_own(trees: Captured, below: int) -> None:
    @eventtree.observe
    def deeper(number: int) -> int:
        return deeper(number + 1)

    def at(depth: int) -> int:
        return at(depth - 1) if depth else deeper(0)

    # How deep it begins decides which of our own calls finds the stack full.
    with pytest.raises(RecursionError):
        at(below)
    assert inner.get() is None and not recorder.runs
    [tree] = trees
    assert tree.root.status == "error" and len(tree.events) > 50
    diagnostics.failures.clear()


def test_frameworks_hang_below_own_code_and_own_code_below_them(trees: Captured) -> None:
    chain = RunnableLambda(lambda text: add(len(text))).with_config(run_name="chain")

    @eventtree.observe(name="handle")
    def handle(text: str) -> int:
        return chain.invoke(text)

    @eventtree.observe(name="ahandle")
    async def ahandle(text: str) -> int:
        return sum(await asyncio.gather(*(chain.ainvoke(text) for _ in range(5))))

    assert handle("abc") == 5
    assert asyncio.run(ahandle("abc")) == 25
    one, two = trees
    assert outline(one) == ["chain handle ok", "  chain chain ok", "    chain add ok"]
    assert outline(two) == ["chain ahandle ok", *["  chain chain ok", "    chain add ok"] * 5]


def test_llama_index_hangs_below_own_code_and_own_code_below_it(trees: Captured) -> None:
    import eventtree.llama_index
    from tests.llama_index.models import Echo

    class Asks(Echo):
        """Calls own code while it answers."""

        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            with eventtree.span("check", kind="tool"):
                add(len(prompt))
            return super().complete(prompt, formatted, **kwargs)

    asks = dispatcher.span(Asks.complete)
    chain = RunnableLambda(lambda text: asks(Asks(), text).text).with_config(run_name="chain")

    @eventtree.observe(name="handle", kind="agent")
    def handle(text: str) -> str:
        return chain.invoke(text) + asks(Asks(), text).text

    @eventtree.observe(name="stream")
    async def stream(text: str) -> list[str]:
        return [part.delta or "" async for part in await Echo().astream_complete(text)]

    eventtree.llama_index.set_global_handler()
    try:
        handle("why")
        asyncio.run(stream("why"))
    finally:
        eventtree.llama_index.set_global_handler(None)
    one, two = trees
    answer = ["model complete ok", "  tool check ok", "    chain add ok", "  model complete ok"]
    assert outline(one) == [
        "agent handle ok", "  chain chain ok", *(f"    {line}" for line in answer), *(f"  {line}" for line in answer),
    ]  # fmt: skip
    assert outline(two) == ["chain stream ok", "  model astream_complete ok", "    model stream_complete ok"]


def test_an_own_run_inside_a_chain_is_the_parent_of_what_the_chain_calls_in_it(trees: Captured) -> None:
    inside = RunnableLambda(lambda text: text).with_config(run_name="inside")

    def body(text: str) -> str:
        with eventtree.span("step"):
            return inside.invoke(text)

    RunnableLambda(body).with_config(run_name="outside").invoke("x")
    [tree] = trees
    assert outline(tree) == ["chain outside ok", "  chain step ok", "    chain inside ok"]


def test_a_task_that_goes_on_belongs_to_the_tree_while_that_is_open(trees: Captured) -> None:
    @eventtree.observe(name="later")
    async def later(gate: asyncio.Event) -> None:
        await gate.wait()
        add(1)

    async def main() -> None:
        gate, after = asyncio.Event(), asyncio.Event()
        with eventtree.span("root"):
            with eventtree.span("starts"):
                task = asyncio.create_task(later(gate))
                outlives = asyncio.create_task(later(after))
            gate.set()
            await task
        after.set()
        await outlives

    asyncio.run(main())
    names = [outline(tree) for tree in trees]
    assert names[0][0] == "chain root ok"
    assert "    chain later ok" in names[0]


def test_threads_of_a_pool_make_trees_of_their_own_without_a_context(trees: Captured) -> None:
    with eventtree.span("root"), ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(20)))
        context = contextvars.copy_context()
        pool.submit(context.run, add, 1).result()
    assert sorted(len(tree.events) for tree in trees) == [1] * 20 + [2]


def test_switched_off_it_returns_the_function_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def plain() -> int:
        return 1

    monkeypatch.setenv("EVENTTREE_ENABLED", "0")
    assert eventtree.observe(plain) is plain
    assert eventtree.observe(kind="tool")(plain) is plain
    with eventtree.span("nothing") as s:
        s.outputs = 1
        s.note("n")
        s.score("x", 1)
        s.usage(input_tokens=1)
    assert s.id is s.tree_id is None
    assert not recorder.runs


def test_switched_off_later_it_only_calls() -> None:
    @eventtree.observe
    def gen() -> Iterator[int]:
        yield 1

    async def agen() -> AsyncIterator[int]:
        yield 1

    watched = eventtree.observe(agen)
    eventtree.configure(enabled=False)
    assert (add(1), list(gen())) == (3, [1])

    async def read() -> list[int]:
        return [one async for one in watched()]

    assert asyncio.run(read()) == [1]
    assert not recorder.ended


@pytest.mark.parametrize(
    ("use", "words"),
    [
        (lambda: eventtree.observe(kind="modle"), "Kinds are chain, model"),
        (lambda: eventtree.span("x", kind="x"), "'x' is none"),
        (lambda: eventtree.observe(inputs=["c"])(lambda a, b: a), "no argument c"),
        (lambda: eventtree.observe(inputs=7)(lambda a, b: a), "no list of names"),
        (lambda: eventtree.observe(type("Own", (), {})), "Observe the methods"),
        (lambda: eventtree.observe(7), "int is no function"),
    ],
)
def test_a_wrong_use_says_so_at_once(use: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        use()


def test_the_settings_of_the_run_around_hold_for_own_code_inside() -> None:
    hides = CallbackHandler(redact=lambda text: text.replace("secret", "***"))
    without = CallbackHandler(content=False)

    def body(text: str) -> str:
        with eventtree.span("own", inputs=text) as s:
            s.outputs = text
        return text

    with capture() as trees:
        for handler in (hides, without):
            RunnableLambda(body).invoke("a secret", config={"callbacks": [handler]})
    masked, bare = (tree.events[-1] for tree in trees)
    assert (masked.name, masked.inputs, masked.outputs) == ("own", "a ***", "a ***")
    assert (bare.name, bare.inputs, bare.outputs) == ("own", None, None)


def test_odd_values_harm_neither_the_app_nor_the_record(trees: Captured) -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("odd")

        __str__ = __eq__ = __hash__ = __iter__ = __len__ = __repr__  # type: ignore[assignment]

    odd, stream = Odd(), iter([1, 2])

    @eventtree.observe
    def takes(one: Any, items: Any) -> Any:
        return items

    assert takes(odd, stream) is stream
    assert list(stream) == [1, 2]
    [tree] = trees
    assert tree.root.status == "ok"
