"""Vendors from outside: by dotted name and entry point, in every command; errors of one name its line."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventtree import ConfigError, diagnostics, flush
from eventtree.event import EventTree
from eventtree.recording.pipeline import Pipeline
from eventtree.serializer.serialize import serialize
from eventtree.testing import VendorServer, check_vendor
from eventtree.testing.contracts.contract import Incoming, Outgoing, Reply
from eventtree.testing.contracts.contract import Route as ServerRoute
from eventtree.testing.listener import Listener
from eventtree.vendors import VENDORS, Braintrust, Encoded, Item, Route, Vendor, resolve_vendors, to_json, vendor_class
from tests.faults.test_servers import soon
from tests.trees import record_tree
from tests.vendors.trees import rich_tree

GUIDE = Path(__file__).parents[2] / "cookbook" / "reference" / "own_vendor.md"
SOURCE = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S)[0]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder on the path with the guide's vendor, and an installed package's entry point for it."""
    folder = tmp_path / "outside"
    info = folder / "notebook-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "notebook_vendor.py").write_text(SOURCE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: notebook\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[eventtree.vendors]\nnotebook = notebook_vendor:Notebook\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{os.environ.get('PYTHONPATH', '')}")
    yield folder
    sys.modules.pop("notebook_vendor", None)


@pytest.fixture
def rows() -> Iterator[tuple[str, list[Any]]]:
    """A server that takes rows."""
    taken: list[Any] = []

    def respond(incoming: Incoming) -> Outgoing:
        taken.extend(json.loads(incoming.body))
        return Outgoing(200, {}, b"{}")

    listener = Listener([ServerRoute("POST", "/rows", lambda call, state: Reply())], respond)
    yield f"http://127.0.0.1:{listener.port}", taken
    listener.close()


@pytest.mark.parametrize("name", ["notebook", "notebook_vendor:Notebook"])
def test_the_guides_vendor_conforms_and_works_by_both_names(package: Path, name: str) -> None:
    check_vendor(name)
    assert vendor_class(name).kind == "notebook"
    assert len(list(serialize([rich_tree()], vendor_class(name).for_export()))) == 1
    with pytest.raises(ConfigError, match="NOTEBOOK_API_KEY"):
        resolve_vendors([name])


@pytest.mark.parametrize("name", ["notebook", "notebook_vendor:Notebook"])
def test_every_command_knows_it(package: Path, own_place: Path, rows: tuple[str, list[Any]], name: str) -> None:
    url, taken = rows
    own = {**os.environ, "NOTEBOOK_API_KEY": "k", "NOTEBOOK_URL": url, "EVENTTREE_JOURNAL": str(own_place)}

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "eventtree", *arguments]
        return subprocess.run(command, env={**own, **more}, capture_output=True, text=True, timeout=60)

    script = "from tests.trees import *; record_tree(Pipeline())"
    quiet = {"EVENTTREE_VENDORS": name, "EVENTTREE_DELIVER": "0", "PYTHONPATH": f"{package}:{Path.cwd()}"}
    subprocess.run([sys.executable, "-c", script], env={**own, **quiet}, check=True, timeout=60)
    done = run("ship", EVENTTREE_VENDORS=name)
    assert done.returncode == 0 and len(taken) == 3, done.stdout + done.stderr
    exported = run("export", "--vendor", name)
    assert len(json.loads(exported.stdout)["body"]) == 3, exported.stderr
    assert "settings are complete" in run("doctor", "--vendor", name).stdout
    assert run("dead", "--vendor", name).stdout == "No dead letters.\n"
    assert run("ship", "--vendor", name, "--replay").returncode == 0


MISTAKES = {
    "no_such_module:Class": "no_such_module:Class cannot be loaded: ModuleNotFoundError",
    "notebook_vendor:Nothing": "cannot be loaded: AttributeError",
    "notebook_vendor:EventTree": "is no vendor. Name a class made from",
    "eventtree.vendors:Vendor": "has no kind and no default_url and no routes",
    "noteboko": "no vendor is called 'noteboko'. Did you mean notebook?",
    "broken_vendor:Broken": r"ZeroDivisionError: division by zero at .*broken_vendor.py:1",
}


@pytest.mark.parametrize("name", MISTAKES)
def test_what_is_wrong_with_a_name_is_said(package: Path, name: str) -> None:
    (package / "broken_vendor.py").write_text("1 / 0\n")
    with pytest.raises(ConfigError, match=MISTAKES[name]):
        resolve_vendors([name])


class Failing(Vendor):
    """Chokes on every tree."""

    kind = "failing"
    default_url = "http://127.0.0.1:9"
    routes = {"rows": Route("POST", "/rows", (b"[", b"]"))}

    def encode(self, tree: EventTree) -> Encoded:
        """Raise."""
        raise KeyError("the thing I forgot")


def test_an_error_of_its_code_names_line_and_message_and_is_no_refusal(
    own_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    line = next(n for n, text in enumerate(Path(__file__).read_text().splitlines(), 1) if "raise KeyError(" in text)
    record_tree(Pipeline(vendors=[Failing(api_key="k")]))
    sums = flush(10).vendors["failing"]
    assert (sums.dead, sums.waiting, sums.unexplained) == (3, 0, 0)
    letters = "".join(path.read_text() for path in own_place.glob("*.dead"))
    assert f"failing's own code failed: KeyError: 'the thing I forgot' at {__file__}:{line}" in letters
    assert "refused" not in caplog.text
    assert f"{__file__}:{line}" in caplog.text
    with caplog.at_level(logging.WARNING, "eventtree"):
        assert list(serialize([rich_tree()], Failing(api_key="k"))) == []
    assert "is left out, failing's own code failed" in caplog.text


class Exiting(Vendor):
    """Gives up in one of its methods, as code does that was a script before."""

    kind = "exiting"
    default_url = "http://127.0.0.1:9"
    routes = {"rows": Route("POST", "/rows", (b"[", b"]"), max_items=100)}
    where: str

    def __getattribute__(self, name: str) -> Any:
        """A method as it is, but for one."""
        return (
            give_up
            if name == object.__getattribute__(self, "__dict__").get("where")
            else super().__getattribute__(name)
        )

    def encode(self, tree: EventTree) -> Encoded:
        """A row for each event."""
        return Encoded(tuple(Item(one.id, tree.id, (one.id,), "rows", to_json({"id": one.id})) for one in tree.events))


def give_up(*given: Any) -> Any:
    """End the program."""
    raise SystemExit(3)


@pytest.mark.parametrize("where", ["read_reply", "auth", "compresses", "lookups"])
def test_one_that_ends_the_program_ends_nobodys_delivery(
    own_place: Path, rows: tuple[str, list[Any]], where: str
) -> None:
    """F24: what waits for it waits; the thread, and with it all other vendors, goes on."""
    with VendorServer() as server:
        others = Braintrust(**server.settings("braintrust"))
        pipeline = Pipeline(vendors=[Exiting(api_key="k", base_url=rows[0], where=where), others])
        record_tree(pipeline)
        soon(lambda: rows[1] or any("delivery to exiting" in kind for kind in diagnostics.failures))
        thread = pipeline.shipper._thread
        record_tree(pipeline)
        soon(lambda: len(server.events("braintrust")) == 6)
        assert pipeline.shipper._thread is thread is not None and thread.is_alive()
        sums = flush(0.5).vendors["exiting"]
        assert (sums.delivered, sums.waiting, sums.unexplained) == ((6, 0, 0) if where == "read_reply" else (0, 6, 0))


class Wrong(Vendor):
    """Breaks many rules."""

    kind = "wrong"
    default_url = "http://127.0.0.1:9"
    routes = {"rows": Route("POST", "/rows/{nowhere}", (b"[", b"]"))}

    def encode(self, tree: EventTree) -> Encoded:
        """Leave out the last event, and give all one key."""
        return Encoded(tuple(Item("key", tree.id, (e.id,), "rows", to_json(e.name)) for e in tree.events[:-1]))

    def read_reply(self, *given: Any) -> Any:
        """Read what is not there."""
        return given[9]


def test_the_suite_tells_all_that_is_wrong() -> None:
    with pytest.raises(AssertionError) as found:
        check_vendor(Wrong)
    for words in ("one key to several items", "does not account for each event once", "names that no lookup fills",
                  "IndexError: tuple index out of range at"):  # fmt: skip
        assert words in str(found.value)


class Careless(Wrong):
    """Breaks others."""

    kind = "careless"
    routes = {"rows": Route("POST", "rows", (b"[", b"]"))}

    def auth(self) -> dict[str, str]:
        """Give the key as it was read from a file."""
        return {"Authorization": f"{self.key}\n"}

    def secrets(self) -> tuple[str, ...]:
        """Fail."""
        raise LookupError("no secret")

    def encode(self, tree: EventTree) -> Encoded:
        """Put a run into the one around it, as deep as it goes."""

        def nested(one: str) -> Any:
            return [nested(event.id) for event in tree.by_parent.get(one, ())]

        return Encoded((Item(tree.id, tree.id, tuple(e.id for e in tree.events), "rows", to_json(nested(tree.id))),))


def test_the_suite_finds_what_only_a_deep_tree_or_a_server_would_show() -> None:
    with pytest.raises(AssertionError) as found:
        check_vendor(Careless)
    for words in ("auth gives headers that HTTP forbids", "secrets raises LookupError: no secret at", "leaves base_url",
                  "encode of a deep tree raises RecursionError"):  # fmt: skip
        assert words in str(found.value)
    for none in (Vendor, dict):
        with pytest.raises(ConfigError, match=f"{none.__name__} (is no vendor|has no kind)"):
            check_vendor(none)


@pytest.mark.parametrize("kind", VENDORS)
def test_our_own_vendors_conform(kind: str) -> None:
    check_vendor(kind)


def test_a_vendor_that_needs_no_key_is_sent_without_one(rows: tuple[str, list[Any]]) -> None:
    """Not with an empty `Bearer `, which HTTP forbids."""

    class Keyless(Vendor):
        kind = "keyless"
        default_url = "http://127.0.0.1:1"
        needs_key = False
        routes = {"rows": Route("POST", "/rows", (b"[", b"]"), max_items=10)}

        def encode(self, tree: EventTree) -> Encoded:
            return Encoded(tuple(Item(one.id, tree.id, (one.id,), "rows", to_json(one.id)) for one in tree.events))

    url, taken = rows
    record_tree(Pipeline(vendors=[Keyless(base_url=url)]), children=1)
    assert flush(10).vendors["keyless"].delivered == len(taken) == 2
