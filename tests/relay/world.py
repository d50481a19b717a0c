"""Machines for the relay's tests: engines, collectors and relays as processes of their own, apps written by hand."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from eventtree import config
from eventtree.delivery.report import Report, make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.journal.cursor import Cursor
from eventtree.kinds import Kind
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import Recorder
from eventtree.relay.collect import Collector
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust, Vendor

RELAYS = """
import sys, threading
from pathlib import Path
from eventtree.journal import DiskFiles, Journal
from eventtree.relay.relay import Relay
for folder in sys.argv[2:]:
    Relay(Journal(DiskFiles(Path(folder))), sys.argv[1]).ensure()
threading.Event().wait()
"""
LONGEST = 60.0
"""Seconds that anything is waited for on a busy machine; usually it takes a fraction of one."""


def until(what: Callable[[], Any], seconds: float = LONGEST, pause: float = 0.02) -> Any:
    """Wait for something to become true, and return it; it is looked at after each pause."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, f"not within {seconds:g} s"
        time.sleep(pause)
    return found


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def binary(name: str) -> str:
    """A server's program, or the test is skipped."""
    found = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


class Running:
    """A process of ours that can be killed and started again."""

    def __init__(self, *command: str, env: dict[str, str] | None = None, log: Path | None = None) -> None:
        """Start it."""
        self.command = command
        self.env = {**os.environ, **(env or {})}
        self.log = log
        self.start()

    def start(self) -> None:
        """Start it again."""
        with open(self.log or os.devnull, "ab") as out:
            self.process = subprocess.Popen(self.command, env=self.env, stdout=out, stderr=out)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, by default without a word to it."""
        self.process.send_signal(number)
        self.process.wait(LONGEST)

    def close(self) -> None:
        """End it if it runs."""
        if self.process.poll() is None:
            self.kill()


class Engine(Running):
    """A real server of an engine, on a port that stays."""

    url = ""

    def __init__(self, folder: Path, **options: Any) -> None:
        """Start it, and wait until it listens."""
        self.folder = folder
        self.port = free_port()
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(*self.program(**options), log=folder / "server.log")

    def program(self, **options: Any) -> tuple[str, ...]:
        """Its command."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it, and wait until it listens."""
        super().start()
        until(self.listens)

    def listens(self) -> bool:
        """Whether it takes connections."""
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Nats(Engine):
    """A NATS server with JetStream."""

    def program(self, *, syncs: bool = True, more: str = "") -> tuple[str, ...]:
        """Its command; `more` lines of its configuration."""
        self.url = f"nats://127.0.0.1:{self.port}"
        self.monitor = free_port()
        always = "sync_interval: always" if syncs else ""
        path = self.folder / "nats.conf"
        path.write_text(
            f'listen: "127.0.0.1:{self.port}"\nhttp: "127.0.0.1:{self.monitor}"\n'
            f'server_name: "{self.folder.name}"\n'
            f'jetstream {{\n  store_dir: "{self.folder}/js"\n  {always}\n}}\n{more}\n'
        )
        return (binary("nats-server"), "-c", str(path))


class Redis(Engine):
    """A Redis server that keeps what it acknowledges."""

    def program(self, *, more: tuple[str, ...] = ()) -> tuple[str, ...]:
        """Its command."""
        self.url = f"redis://127.0.0.1:{self.port}"
        return (
            binary("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--appendonly", "yes", "--appendfsync", "always", "--save", "", *more,
        )  # fmt: skip


ENGINES = {"nats": Nats, "redis": Redis}


@contextmanager
def closing(*running: Running) -> Iterator[None]:
    """Processes that end with the block."""
    try:
        yield
    finally:
        for one in running:
            one.close()


def collector(
    url: str, folder: Path, vendor: VendorServer, *more: str, log: Path | None = None, env: dict[str, str] | None = None
) -> Running:
    """`eventtree collect` in a process of its own, by default for Braintrust at a vendor server."""
    settings = vendor.settings("braintrust")
    env = {
        "EVENTTREE_VENDORS": "braintrust", "BRAINTRUST_API_KEY": settings["api_key"],
        "BRAINTRUST_API_URL": settings["base_url"], "BRAINTRUST_PROJECT": "p", "EVENTTREE_RELAY": "", **(env or {}),
    }  # fmt: skip
    return Running(sys.executable, "-m", "eventtree", "collect", url, "--journal", str(folder), *more, env=env, log=log)


def sidecar(url: str, folder: Path, log: Path | None = None) -> Running:
    """`eventtree relay` in a process of its own."""
    return Running(sys.executable, "-m", "eventtree", "relay", url, "--journal", str(folder), log=log)


def relays(url: str, folders: list[Path], processes: int = 4) -> list[Running]:
    """Relays of many folders, as threads of a few processes."""
    names = [str(folder) for folder in folders]
    return [Running(sys.executable, "-c", RELAYS, url, *names[start::processes]) for start in range(processes)]


def braintrust(server: VendorServer) -> Vendor:
    """The vendor that most of these tests deliver to."""
    return Braintrust(project="p", **server.settings("braintrust"))


@contextmanager
def collecting(
    url: str, folder: Path, vendors: Iterable[Vendor], *, silence: float = 60.0, partitions: int | None = None
) -> Iterator[Collector]:
    """A collector in a thread of this process."""
    made = Collector(Journal(DiskFiles(folder)), vendors, config.resolve(journal=str(folder)), silence=silence)
    loop = asyncio.new_event_loop()
    task = loop.create_task(made.run(url, partitions=partitions))

    def run() -> None:
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            pass
        finally:
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield made
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(task.cancel)
        thread.join(LONGEST)


class App:
    """An app of this process that records into a journal of its own; it lives until it `dies`."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        """Start."""
        self.folder = folder
        self.pipeline = Pipeline(journal=str(folder), **settings)
        self.journal = self.pipeline.journal
        self.recorder = Recorder()
        self.events: set[str] = set()

    def open(self, parent: str | None = None, text: str = "") -> str:
        """Open a run; its id."""
        run = str(uuid.uuid4())
        kind = Kind.CHAIN if parent is None else Kind.TOOL
        self.recorder.open(self.pipeline, run, parent, kind=kind, name="run", inputs={"question": text or run})
        self.events.add(run)
        return run

    def end(self, run: str) -> None:
        """Close a run."""
        self.recorder.close(self.pipeline, run, outputs={"answer": "x" * 40})

    def tree(self, children: int = 3, text: str = "") -> str:
        """Record a whole tree; its id."""
        root = self.open(text=text)
        for _ in range(children):
            self.end(self.open(root))
        self.end(root)
        return root

    def stop(self) -> None:
        """Stop its relay."""
        if self.pipeline.relay is not None:
            self.pipeline.relay.stop(LONGEST)

    def die(self) -> None:
        """As if the process were killed: its locks are free."""
        self.stop()
        if self.journal._alive is not None:
            self.journal._alive.release()


def copies(source: Path, copy: Path) -> dict[str, bool]:
    """Each log of a folder: whether the other has the same bytes."""
    return {
        log.name: (copy / log.name).is_file() and (copy / log.name).read_bytes() == log.read_bytes()
        for log in source.glob("*.log")
    }


def delivered(folder: Path) -> int:
    """Events the vendor has, by its cursor: a report would count all that waits."""
    return sum(Cursor(DiskFiles(folder), one.name).delivered for one in folder.glob("braintrust.*.cursor"))


def report(folder: Path) -> Report:
    """The sums of a folder as they stand."""
    return make_report(Journal(DiskFiles(folder)))


def noise(size: int) -> str:
    """A text that can't be compressed."""
    return secrets.token_urlsafe(size)[:size]
