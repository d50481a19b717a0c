"""Processes as servers and pools make them: prefork, spawn, pools, threads, greenlets, frozen ones, several users."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from eventtree import flush
from eventtree.delivery.report import VendorTotals, make_report
from eventtree.journal import DiskFiles, Journal
from eventtree.recording.pipeline import Pipeline
from eventtree.testing import VendorServer
from eventtree.vendors import Braintrust
from tests.trees import record_tree

ROOT = Path(__file__).parents[2]
NOBODY = 65534


def environment(server: VendorServer, **more: str) -> dict[str, str]:
    path = os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))
    return {
        **os.environ, "BRAINTRUST_API_KEY": "k", "BRAINTRUST_API_URL": server.url, "PYTHONPATH": path, **more
    }  # fmt: skip


def start(server: VendorServer, *command: str, **more: str) -> subprocess.Popen[str]:
    """A Python process of its own, with a key and the server's address in its environment."""
    return subprocess.Popen(
        [sys.executable, *command], env=environment(server, **more), text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def soon(true: Callable[[], object], seconds: float = 30) -> float:
    """Wait until it is true; how long that took."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < seconds
        time.sleep(0.02)
    return time.monotonic() - began


def lawful(folder: Path) -> VendorTotals:
    """Braintrust's sums; they add up."""
    sums = make_report(Journal(DiskFiles(folder))).vendors["braintrust"]
    assert sums.unexplained == 0
    return sums


def delivered_once(server: VendorServer, folder: Path, events: int) -> None:
    """So many events have arrived, each once, and nothing else is in the sums."""
    soon(lambda: len(set(server.event_ids("braintrust"))) >= events)
    ids = server.event_ids("braintrust")
    assert len(ids) == len(set(ids)) == events
    soon(lambda: lawful(folder).waiting == 0)
    sums = lawful(folder)
    assert (sums.accepted, sums.delivered) == (events, events)


PREFORK = """
import os, signal, socket, sys
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree

pipeline = Pipeline(vendors=["braintrust"])
record_tree(pipeline)
listener = socket.create_server(("127.0.0.1", 0))

def work():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        connection = listener.accept()[0]
        with connection:
            connection.sendall(f"{os.getpid()} {record_tree(pipeline)}".encode())

def fork():
    child = os.fork()
    if child == 0:
        work()
    return child

workers = {fork() for _ in range(3)}
print(listener.getsockname()[1], flush=True)
while workers:
    child, status = os.wait()
    workers.discard(child)
    if os.WIFSIGNALED(status):
        workers.add(fork())
    elif len(workers) == 2:
        for other in workers:
            os.kill(other, signal.SIGTERM)
record_tree(pipeline)
"""


def ask(port: int) -> tuple[int, str]:
    """A request to the server above: the worker's process id, and the tree it recorded."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        data = b""
        while part := connection.recv(100):
            data += part
    worker, tree = data.decode().split()
    return int(worker), tree


def is_there(pid: int) -> bool:
    """Whether there is such a process."""
    return Path(f"/proc/{pid}").exists()


def test_f13_a_preforking_server_delivers_each_event_once(own_place: Path) -> None:
    """The app is loaded before the fork; a worker is killed and replaced; the others end when they are told."""
    with VendorServer() as server:
        master = start(server, "-c", PREFORK)
        assert master.stdout is not None
        port = int(master.stdout.readline())
        first = [ask(port) for _ in range(30)]
        os.kill(first[-1][0], signal.SIGKILL)
        soon(lambda: not is_there(first[-1][0]))
        second = [ask(port) for _ in range(30)]
        os.kill(second[-1][0], signal.SIGTERM)
        out, err = master.communicate(timeout=30)
        assert (master.returncode, out, err) == (0, "", "")
        delivered_once(server, own_place, 62 * 3)
        assert {tree for _, tree in first + second} <= set(server.event_ids("braintrust"))


POOLS = """
import multiprocessing, sys
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree

def work(number):
    pipeline = Pipeline(vendors=["braintrust"])
    return record_tree(pipeline)

if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[1])
    pipeline = Pipeline(vendors=["braintrust"])
    record_tree(pipeline)
    process = context.Process(target=work, args=(0,))
    process.start()
    with context.Pool(2) as pool:
        assert len(set(pool.map(work, range(10)))) == 10
        pool.close()
        pool.join()
    process.join()
    assert process.exitcode == 0
    record_tree(pipeline)
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_f13_processes_and_pools_deliver_each_event_once(own_place: Path, tmp_path: Path, method: str) -> None:
    """`multiprocessing` ends its processes without any exit hooks: what they recorded others deliver."""
    script = tmp_path / "pools.py"
    script.write_text(POOLS)
    with VendorServer() as server:
        main = start(server, str(script), method)
        out, err = main.communicate(timeout=300)
        assert (main.returncode, out, err) == (0, "", "")
        done = subprocess.run(
            [sys.executable, "-m", "eventtree", "ship"], env=environment(server), capture_output=True, timeout=30
        )
        assert done.returncode == 0, done.stderr
        delivered_once(server, own_place, 13 * 3)


def test_f13_a_childs_threads_are_not_taken_for_the_parents_shipper(own_place: Path) -> None:
    """A thread of a forked child may get the number of its parent's shipper: it records all the same."""
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        record_tree(pipeline)
        assert flush(20).settled
        child = os.fork()
        if child == 0:
            try:
                for _ in range(8):
                    thread = threading.Thread(target=record_tree, args=(pipeline,))
                    thread.start()
                    thread.join()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert lawful(own_place).dropped == {}
        delivered_once(server, own_place, 27)


def test_threads_share_a_handler_and_each_event_arrives_once(own_place: Path) -> None:
    with VendorServer() as server:
        pipeline = Pipeline(vendors=[Braintrust(**server.settings("braintrust"))])
        threads = [threading.Thread(target=lambda: [record_tree(pipeline) for _ in range(20)]) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert flush(20).settled
        delivered_once(server, own_place, 16 * 20 * 3)


FROZEN = """
import sys
import eventtree
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree
pipeline = Pipeline(vendors=["braintrust"])
for _ in range(10):
    record_tree(pipeline)
print(eventtree.flush(0.5).waiting, flush=True)
sys.stdin.readline()
print(eventtree.flush(20).waiting, flush=True)
"""


def test_a_frozen_process_says_what_is_left_and_delivers_after_the_thaw(own_place: Path) -> None:
    """As a serverless platform does it: `flush(timeout)`, a pause of unknown length, then the next call."""
    with VendorServer() as server:
        server.script("braintrust", [503] * 1_000)
        process = start(server, "-c", FROZEN)
        assert process.stdout is not None
        began = time.monotonic()
        assert int(process.stdout.readline()) == 30
        os.kill(process.pid, signal.SIGSTOP)
        assert time.monotonic() - began < 10
        server.unscript("braintrust")
        time.sleep(1.5)
        assert not server.event_ids("braintrust")
        os.kill(process.pid, signal.SIGCONT)
        out, _ = process.communicate("\n", timeout=30)
        assert (process.returncode, out) == (0, "0\n")
        delivered_once(server, own_place, 30)


def test_f14_a_dead_shipper_is_replaced_within_five_seconds(own_place: Path) -> None:
    """Two processes that could ship: the one that does is killed."""
    with VendorServer() as server:
        holder = start(
            server, "-c", "from eventtree.recording.pipeline import Pipeline; from tests.trees import record_tree\n"
            "record_tree(Pipeline(vendors=['braintrust'])); input()",
        )  # fmt: skip
        soon(lambda: len(server.event_ids("braintrust")) == 3)
        pipeline = Pipeline(vendors=[Braintrust(api_key="k", base_url=server.url)])  # type: ignore[arg-type]
        time.sleep(0.5)
        assert pipeline.shipper.consumers and not any(
            consumer._lock for consumer in pipeline.shipper.consumers.values()
        )
        holder.kill()
        holder.communicate()
        record_tree(pipeline)
        took = soon(lambda: len(server.event_ids("braintrust")) == 6, 5)
        print(f"replaced after {took:.1f} s")
        delivered_once(server, own_place, 6)


SAME_NUMBER = """
import os, uuid
os.getpid = lambda: 4242
from eventtree.recording.pipeline import Pipeline
from eventtree.kinds import Kind
from eventtree.recording.recorder import recorder
from tests.trees import record_tree
if os.fork() == 0:
    recorder.open(Pipeline(vendors=["braintrust"]), str(uuid.uuid4()), None, kind=Kind.CHAIN, name="never closed")
    os._exit(0)
os.wait()
record_tree(Pipeline(vendors=["braintrust"]))
input()
"""


def test_f14_a_process_id_that_is_used_again_confuses_nobody(own_place: Path) -> None:
    """The writer of a log is known by its lock: one whose number another process has by now is dead all the same."""
    with VendorServer() as server:
        process = start(server, "-c", SAME_NUMBER)
        soon(lambda: len(server.event_ids("braintrust")) == 4)
        out, err = process.communicate("\n", timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
        delivered_once(server, own_place, 4)
        writers = {path.name.split(".")[0] for path in own_place.glob("*.log")}
        assert len(writers) == 2
        assert all("-4242-" in writer for writer in writers)


@pytest.fixture
def shared_place() -> Iterator[Path]:
    """A folder that every user may pass through."""
    place = Path(tempfile.mkdtemp(prefix="eventtree-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="needs to become another user")
def test_two_users_of_a_machine_do_not_share_a_journal(shared_place: Path) -> None:
    """Each is refused the other's, root too; the message names the hint."""
    script = (
        "import os, sys\n"
        "from eventtree.recording.pipeline import Pipeline\n"
        "from eventtree.errors import JournalError\n"
        "from tests.trees import record_tree\n"
        "import filelock\n"
        "record_tree(Pipeline(journal=':memory:'))  # imports all it needs: nobody may not read this Python's folder\n"
        "os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))\n"
        "try:\n"
        "    record_tree(Pipeline(journal=sys.argv[1]))\n"
        "except JournalError as error:\n"
        "    sys.exit(str(error))\n"
    )
    owners = {"ours": 0, "theirs": NOBODY}
    for folder, owner in owners.items():
        (shared_place / folder).mkdir(mode=0o700)
        os.chown(shared_place / folder, owner, owner)
    for folder, owner in owners.items():
        for user in owners.values():
            done = subprocess.run(
                [sys.executable, "-c", script, str(shared_place / folder), str(user)],
                env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=30,
            )  # fmt: skip
            assert done.returncode == int(user != owner), done.stderr
            assert ("it belongs to another user. Name a folder of your own" in done.stderr) == (user != owner)
        (log,) = (shared_place / folder).glob("*.log")
        assert (log.stat().st_uid, log.stat().st_mode & 0o777) == (owner, 0o600)


RECORDING = """
import sys, threading, time
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree
pipeline = Pipeline(vendors=["braintrust"])
over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set())).start()
trees = []
while not over.wait(0.05):
    trees.append(record_tree(pipeline))
print(*trees)
"""


def test_a_follower_that_is_stopped_and_started_again_delivers_each_event_once(own_place: Path) -> None:
    """`eventtree ship --follow` as the only shipper: ended by SIGTERM and kill -9 while others record."""
    follow = ("-m", "eventtree", "ship", "--follow", "--journal", str(own_place))
    with VendorServer() as server:
        apps = [start(server, "-c", RECORDING, EVENTTREE_DELIVER="0") for _ in range(2)]
        for ending in (signal.SIGTERM, signal.SIGKILL):
            before = len(server.event_ids("braintrust"))
            follower = start(server, *follow)
            soon(lambda before=before: len(server.event_ids("braintrust")) > before + 10)
            follower.send_signal(ending)
            follower.communicate(timeout=20)
        soon(lambda: lawful(own_place).waiting > 0)  # what is recorded now nobody ships
        trees = [tree for app in apps for tree in app.communicate(timeout=30)[0].split()]
        assert len(set(server.event_ids("braintrust"))) < 3 * len(trees), "nobody else ships"
        last = start(server, *follow)
        try:
            soon(lambda: set(trees) <= set(server.event_ids("braintrust")))
            soon(lambda: lawful(own_place).waiting == 0)
        finally:
            last.send_signal(signal.SIGINT)
            out, err = last.communicate(timeout=20)
        assert "braintrust" in out, err
        sums = lawful(own_place)
        assert sums.accepted == sums.delivered == 3 * len(trees) == len(set(server.event_ids("braintrust")))
        repeats = server.repeats("braintrust")
        print(f"{len(trees)} trees, two stops, {repeats}")
        assert repeats.changed == 0
        assert repeats.same <= 2 * 500, "at most a batch a stop"


GREENLETS = """
from gevent import monkey
monkey.patch_all()
import gevent, eventtree
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree
pipeline = Pipeline(vendors=["braintrust"])
gevent.joinall([gevent.spawn(lambda: [record_tree(pipeline) for _ in range(10)]) for _ in range(20)], raise_error=True)
report = eventtree.flush(30)
assert report.settled, report
"""

WSGI = """
from eventtree.recording.pipeline import Pipeline
from tests.trees import record_tree
pipeline = Pipeline(vendors=["braintrust"])
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [record_tree(pipeline).encode()]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with gevent and gunicorn in it."""
    folder = str(tmp_path_factory.mktemp("installed"))
    command = [sys.executable, "-m", "pip", "install", "-q", "--target", folder, "gevent", "gunicorn"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


@pytest.mark.upstream
def test_greenlets_in_place_of_threads_deliver_each_event_once(own_place: Path, installed: str) -> None:
    """gevent, with everything patched."""
    with VendorServer() as server:
        process = start(server, "-c", GREENLETS, PYTHONPATH=os.pathsep.join((str(ROOT), installed)))
        out, err = process.communicate(timeout=300)
        assert (process.returncode, out, err) == (0, "", "")
        delivered_once(server, own_place, 600)


def answers(url: str) -> bool:
    """Whether somebody listens there."""
    import httpx

    try:
        return httpx.head(url, timeout=20, trust_env=False).is_success
    except httpx.ConnectError:
        return False


@pytest.mark.upstream
@pytest.mark.parametrize("worker", ["sync", "gthread", "gevent"])
@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_gunicorn_delivers_each_event_once(
    own_place: Path, tmp_path: Path, installed: str, worker: str, preload: list[str]
) -> None:
    """Three workers of each kind, the app loaded before or after the fork; a graceful end."""
    import httpx

    (tmp_path / "service.py").write_text(WSGI)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = os.pathsep.join((str(ROOT), installed, str(tmp_path)))
    with VendorServer() as server:
        command = ["-m", "gunicorn", "-w", "3", "-k", worker, *preload, "-b", f"127.0.0.1:{port}", "service:app"]
        master = start(server, *command, PYTHONPATH=path)
        url = f"http://127.0.0.1:{port}/"
        try:
            soon(lambda: answers(url))
            trees = [httpx.get(url, timeout=20, trust_env=False).text for _ in range(60)]
        finally:
            master.send_signal(signal.SIGTERM)
            _, err = master.communicate(timeout=40)
        assert "Traceback" not in err, err
        subprocess.run([sys.executable, "-m", "eventtree", "ship"], env=environment(server), check=True, timeout=30)
        assert set(trees) <= set(server.event_ids("braintrust"))
        delivered_once(server, own_place, 183)  # the first question, whether it listens, is one too
