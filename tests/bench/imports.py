"""What importing costs: `python -m tests.bench.imports [--rounds N]`.

Processor time of fresh interpreters, the median and the least of all rounds; wall time says more about the disk's cache
and the neighbours. A row is what the import takes beyond those before it in its line: an app that uses LangChain has
loaded `langchain_core.callbacks` anyway, and one that runs a chain asyncio too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile

LINES = (
    ("langchain_core.callbacks", "eventtree.langchain"),
    ("langchain_core.callbacks", "asyncio", "eventtree.langchain"),
    ("llama_index.core", "eventtree.llama_index"),
    ("eventtree",),
)
MEASURE = """
import importlib, sys, time
for name in sys.argv[1:]:
    before = time.process_time()
    importlib.import_module(name)
    print((time.process_time() - before) * 1_000)
"""


def measured(line: tuple[str, ...], cache: str) -> list[float]:
    """Milliseconds of each import of a line, in an interpreter of its own that compiles nothing it finds in `cache`."""
    given = {**os.environ, "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": cache}
    done = subprocess.run([sys.executable, "-c", MEASURE, *line], capture_output=True, text=True, check=True, env=given)
    return [float(each) for each in done.stdout.split()]


def main() -> None:
    """All lines, their rounds interleaved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    with tempfile.TemporaryDirectory() as cache:
        _, *rounds = [[measured(line, cache) for line in LINES] for _ in range(parser.parse_args().rounds + 1)]
    for at, line in enumerate(LINES):
        for name, *took in zip(line, *(each[at] for each in rounds), strict=True):
            print(f"{name:<26}{statistics.median(took):7.1f} ms{min(took):7.1f} ms", "" if name == line[-1] else "then")


if __name__ == "__main__":
    main()
