"""One tree over three machines: processes with journals of their own, one engine, one collector."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from eventtree.testing import VendorServer
from tests.relay.world import Nats, closing, collector, copies, report, until

MACHINE = """
import contextlib, os, subprocess, sys
import eventtree
from eventtree.langchain import CallbackHandler
from langchain_core.runnables import RunnableLambda

number, folder = int(sys.argv[1]), sys.argv[2]
handler = CallbackHandler(journal=f"{folder}/machine{number}")

def work(text):
    if number < 3:
        given = {name.upper(): value for name, value in eventtree.headers().items()}
        command = [sys.executable, "-c", os.environ["MACHINE"], str(number + 1), folder]
        subprocess.run(command, env={**os.environ, **given}, check=True)
    return text

with eventtree.joined(os.environ) if number > 1 else contextlib.nullcontext():
    (RunnableLambda(work).with_config(run_name=f"machine{number}") | RunnableLambda(str)).invoke(
        "question", config={"callbacks": [handler]}
    )
assert eventtree.flush(30).unreplicated_bytes == 0
"""
NAMES = {"BRAINTRUST": "braintrust", "HH": "honeyhive", "HUMANLOOP": "humanloop_v5", "NEBULY": "nebuly"}


def test_f79_runs_of_three_machines_are_one_tree_at_every_vendor(machine: Path, vendor: VendorServer) -> None:
    server = Nats(machine / "engine")
    env = {"EVENTTREE_VENDORS": ",".join(NAMES.values()), "HH_PROJECT": "p"}
    env |= {f"{name}_API_KEY": "k" for name in NAMES}
    env |= {f"{name}_API_URL": vendor.settings(kind)["base_url"] for name, kind in NAMES.items()}
    kept = collector(server.url, machine / "collector", vendor, env=env)
    with closing(server, kept):
        done = subprocess.run(
            [sys.executable, "-c", MACHINE, "1", str(machine)], capture_output=True, text=True,
            env={**kept.env, **dict.fromkeys(env, ""), "EVENTTREE_RELAY": server.url, "MACHINE": MACHINE},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        until(lambda: len(vendor.events("braintrust")) >= 9 and not report(machine / "collector").waiting)
        found = report(machine / "collector")
    assert not vendor.refused
    rows = {row["id"]: row for row in vendor.events("braintrust")}
    named = {row["span_attributes"]["name"]: row for row in rows.values()}
    assert len({row["root_span_id"] for row in rows.values()}) == 1
    for number in (2, 3):  # each machine's sequence is below the run that handed on
        (sequence,) = (rows[parent] for parent in named[f"machine{number}"]["span_parents"])
        assert sequence["span_parents"] == [named[f"machine{number - 1}"]["id"]]
    for kind in NAMES.values():
        sums = found.vendors[kind]
        assert (sums.accepted, sums.waiting, sums.dead, sums.unexplained) == (9, 0, 0, 0), sums
        assert not sums.differs
    assert len(vendor.events("nebuly")) <= 1
    for number in (1, 2, 3):
        assert all(copies(machine / f"machine{number}", machine / "collector").values())
        assert not report(machine / f"machine{number}").vendors["collector"].differs
