"""Machine instructions of the caller's thread, counted by valgrind: the same on a busy machine as on an idle one.

`python -m tests.bench.instructions [W1 …] [--floor]` prints them by workload (those of `table.py` that run in one
thread, and an observed call, O1), for a handler that does nothing, a sketch of the least that a recorder does
(`chain.Floor`; of O1 the recorder alone) and ours that only records; and what the last two add to each callback. With
`--floor`, of W1 also a sketch that keeps our promises in the fewest steps that we know (`least.py`).

The workloads run in a process under callgrind, which counts only between two requests of that process: the rest runs
at a tolerable pace. A request is a sequence of instructions that does nothing outside valgrind.
"""

from __future__ import annotations

import ctypes
import gc
import mmap
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
CALLGRIND = ord("C") << 24 | ord("T") << 16
ZERO, TOGGLE, DUMP_AT, START = CALLGRIND + 1, CALLGRIND + 2, CALLGRIND + 3, CALLGRIND + 4
"""Requests of callgrind (valgrind/callgrind.h)."""
CODE = {
    # mov rax,rdi; xor edx,edx; rol rdi,3; rol rdi,13; rol rdi,61; rol rdi,51; xchg rbx,rbx; mov rax,rdx; ret
    "x86_64": "4889f8 31d2 48c1c703 48c1c70d 48c1c73d 48c1c733 4887db 4889d0 c3",
}
"""The request as machine code (valgrind/valgrind.h)."""
TIMES = {"W1": 40, "W6": 4, "L1": 10, "W3": 3, "W4": 4, "O1": 200}
"""Workload → how often it is counted: those that run in one thread, since callgrind counts each thread apart."""
CALLBACKS = {"W1": 8, "W6": 8, "L1": 28, "W3": 66, "W4": 202, "O1": 1}
"""How many callbacks (spans' ends among them) a workload has, where they are all alike."""


def missing() -> str | None:
    """Why nothing can be counted here."""
    if platform.machine() not in CODE:
        return f"no request to valgrind is known for {platform.machine()}"
    return None if shutil.which("valgrind") else "valgrind is not installed"


class Counter:
    """Inside valgrind: counts what runs between two requests, into a file of its own each."""

    def __init__(self) -> None:
        code = bytes.fromhex(CODE[platform.machine()])
        self._memory = mmap.mmap(-1, mmap.PAGESIZE, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        self._memory.write(code)
        address = ctypes.addressof(ctypes.c_char.from_buffer(self._memory))
        self._has_begun = False
        self._request = ctypes.PYFUNCTYPE(ctypes.c_long, ctypes.c_void_p)(address)

    def request(self, number: int, label: bytes = b"") -> None:
        arguments = (ctypes.c_void_p * 6)(number, ctypes.cast(ctypes.c_char_p(label), ctypes.c_void_p).value)
        self._request(ctypes.addressof(arguments))

    def count(self, label: str, act: Callable[[], Any], times: int) -> None:
        """Count so many calls; the figure gets this label."""
        if not self._has_begun:
            self.request(START)  # for good: what is counted after a stop is wrong
            self._has_begun = True
        act()
        gc.collect()  # else a collection of all that lives falls into some counts and not into others
        self.request(ZERO)
        self.request(TOGGLE)
        for _ in range(times):
            act()
        self.request(TOGGLE)
        self.request(DUMP_AT, label.encode())


def counted(names: list[str], *, has_floor: bool = False) -> dict[str, int]:
    """Label → instructions a call, of workloads that run in a process of their own."""
    given = [*names, "--floor"] if has_floor else names
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [
            "valgrind",
            "--tool=callgrind",
            "--instr-atstart=no",
            "--collect-atstart=no",
            f"--callgrind-out-file={out}",
        ]
        subprocess.run(
            [*command, sys.executable, "-m", "tests.bench.instructions", "--inside", *given],
            cwd=ROOT, check=True, env={**os.environ, "PYTHONHASHSEED": "0"}, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        found = {}
        for dump in Path(folder).iterdir():
            text = dump.read_text()
            label = re.search(r"^desc: Trigger: Client Request: (.*)$", text, re.M)
            total = re.search(r"^(?:totals|summary): (\d+)", text, re.M)
            if label and total:
                name, _, times = label[1].partition("/")
                found[name] = int(total[1]) // int(times)
        return found


def inside(names: list[str], *, has_floor: bool) -> None:
    """Run the workloads; called in the process under valgrind."""
    import eventtree
    from eventtree.journal import journal
    from eventtree.langchain import CallbackHandler
    from eventtree.llama_index import DispatcherHandler
    from tests.bench import chain, llama_index, own, table
    from tests.bench.least import Least

    journal.LOOK_SECONDS = 1e9  # under valgrind a second is a fiftieth of one: looks by size remain
    counter = Counter()
    folder = tempfile.mkdtemp()
    ours = CallbackHandler(vendors=[], journal=f"{folder}/langchain")
    handlers = {"do-nothing": chain.DoNothing(), "floor": chain.Floor(f"{folder}/floor"), "ours": ours}
    least = {"least": Least(f"{folder}/least")} if has_floor else {}
    for name, (act, _) in table.workloads().items():
        if name in names:
            for label, handler in (handlers | (least if name == "W1" else {})).items():
                for _ in range(6):
                    act([handler])
                counter.count(f"{name} {label}/{TIMES[name]}", lambda act=act, one=handler: act([one]), TIMES[name])
    if "L1" in names:
        query = llama_index.programs()["query"]
        dispatched = DispatcherHandler(vendors=[], journal=f"{folder}/llama_index")
        idle = [llama_index.IdleSpans()], [llama_index.IdleEvents()]
        mine = [dispatched._span_handler], [dispatched._event_handler]
        for label, handlers in (("do-nothing", idle), ("ours", mine)):
            with llama_index.attached(*handlers):
                for _ in range(6):
                    query()
                counter.count(f"L1 {label}/{TIMES['L1']}", query, TIMES["L1"])
    if "O1" in names:  # an observed call; its floor is the recorder alone
        os.environ["EVENTTREE_JOURNAL"] = f"{folder}/own"
        with eventtree.span("root") as root:
            calls = {"do-nothing": own.plain, "floor": own.records(root.id or ""), "ours": eventtree.observe(own.plain)}
            for label, call in calls.items():
                for number in range(300):
                    call(number)
                counter.count(f"O1 {label}/{TIMES['O1']}", lambda call=call: call(1), TIMES["O1"])
    shutil.rmtree(folder)


def main() -> None:
    """Print the figures."""
    is_inside, has_floor = "--inside" in sys.argv, "--floor" in sys.argv
    names = [one for one in sys.argv[1:] if one in TIMES] or list(TIMES)
    if is_inside:
        inside(names, has_floor=has_floor)
        return
    if reason := missing():
        sys.exit(reason)
    found = counted(names, has_floor=has_floor)
    for name in names:
        nothing = found.pop(f"{name} do-nothing")
        print(f"{name:4} do-nothing {nothing:12,}", end="")
        for label in ("floor", "least", "ours"):
            if count := found.get(f"{name} {label}"):
                added = (count - nothing) / CALLBACKS[name]
                print(f"   {label} {count:12,} {count / nothing:5.2f} {added:9,.0f} a callback", end="", flush=True)
        print()


if __name__ == "__main__":
    main()
