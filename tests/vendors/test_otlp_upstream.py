"""A real Phoenix and a real MLflow, started here on the loopback, take the demo's trees and say what `show` says.

Each has a venv of its own, made when it is needed and kept in pytest's cache.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.upstream

SECONDS = 300
USER, SESSION = "demo-user", "demo-session"


@dataclass(frozen=True)
class Receiver:
    """A backend: its package, how it is started, and where it says that it is there."""

    package: str
    command: tuple[str, ...]
    environment: dict[str, str]
    health: str


RECEIVERS = {
    "phoenix": Receiver(
        "arize-phoenix",
        ("phoenix", "serve"),
        {"PHOENIX_WORKING_DIR": "{folder}", "PHOENIX_HOST": "127.0.0.1", "PHOENIX_PORT": "{port}",
         "PHOENIX_GRPC_PORT": "{other}", "PHOENIX_TELEMETRY_ENABLED": "false"},
        "/healthz",
    ),
    "mlflow": Receiver(
        "mlflow",
        ("mlflow", "server", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1",
         "--backend-store-uri", "sqlite:///{folder}/m.db"),
        {"MLFLOW_DISABLE_TELEMETRY": "true"},
        "/health",
    ),
}  # fmt: skip


def own_commands(cache: Path, name: str, package: str) -> Path:
    """The `bin` of a venv that holds `package`; skips the test where it cannot be had."""
    venv = cache / name
    if not (venv / "ready").is_file():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(venv)], check=True)
        python = str(venv / "bin" / "python")
        for command in ([python, "-m", "pip", "install", "-q", "uv"],
                        [str(venv / "bin" / "uv"), "pip", "install", "-q", "--python", python, package]):  # fmt: skip
            done = subprocess.run(command, env={**os.environ, "UV_LINK_MODE": "copy"}, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{package} cannot be installed here: {done.stderr.splitlines()[-1:]}")
        (venv / "ready").touch()
    return venv / "bin"


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def started(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Name and address of a running backend; it and its helpers are ended by the group they were started in."""
    receiver = RECEIVERS[request.param]
    kept = request.config.cache
    cache = tmp_path_factory.mktemp("otlp") if kept is None else Path(kept.mkdir("otlp"))
    commands, folder = own_commands(cache, request.param, receiver.package), tmp_path_factory.mktemp(request.param)
    port, other = free_ports(2)
    words = {"folder": str(folder), "port": str(port), "other": str(other)}
    given = {name: value.format(**words) for name, value in receiver.environment.items()}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [str(commands / receiver.command[0]), *(part.format(**words) for part in receiver.command[1:])],
            env={**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", **given}, cwd=folder,
            stdout=said, stderr=said, start_new_session=True,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + SECONDS
        while not is_up(url + receiver.health):
            assert process.poll() is None, (folder / "said").read_text()[-3000:]
            assert time.monotonic() < deadline, "it does not come up"
            time.sleep(1)
        yield request.param, url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)


def is_up(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


def eventtree(*arguments: str, **environment: str) -> str:
    command = [sys.executable, "-m", "eventtree", *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def recorded(folder: Path) -> dict[str, dict[str, Any]]:
    """The demo's events by id, without plumbing; what is below that hangs under what is above it."""
    eventtree("demo", "--out", str(folder))
    found = [
        json.loads(line) for line in eventtree("show", "--json", "--journal", str(folder / "journal")).splitlines()
    ]
    above = {event["id"]: event["parent_id"] for event in found if event["internal"]}
    events = {event["id"]: event for event in found if not event["internal"]}
    for event in events.values():
        while event["parent_id"] in above:
            event["parent_id"] = above[event["parent_id"]]
    return events


def ship_twice(folder: Path, url: str, headers: str, **environment: str) -> None:
    """To two destinations of our making that are one to the backend: each event is sent twice."""
    for more in ("", ",x-again=1"):
        given = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": headers + more, **environment}
        eventtree("ship", "--journal", str(folder / "journal"), "--vendor", "otlp", "--replay", **given)


def say(folder: Path, event_id: str, url: str, headers: str, **environment: str) -> None:
    """Feedback from another process, long after, on its way once more."""
    given = "score=0.25, name='fit', comment='so so', user='eve'"
    code = f"import eventtree; assert eventtree.feedback({event_id!r}, {given})"
    own = {**os.environ, "EVENTTREE_JOURNAL": str(folder / "journal")}
    subprocess.run([sys.executable, "-c", code], env=own, check=True)
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": headers, **environment}
    told = eventtree("ship", "--journal", str(folder / "journal"), "--vendor", "otlp", "--replay", **given)
    assert "feedback: delivered 1" in told


def soon(look: Any, wanted: Any, seconds: float = 60) -> Any:
    """What `look` gives, once it is as wanted: backends write behind their answers."""
    deadline = time.monotonic() + seconds
    while not wanted(found := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return found


def total(events: dict[str, dict[str, Any]], count: str) -> int:
    return sum((event["usage"] or {}).get(count) or 0 for event in events.values())


@pytest.mark.parametrize("started", ["phoenix"], indirect=True)
@pytest.mark.parametrize("flavor", ["openinference", "genai"])
def test_phoenix_shows_the_demos_trees(started: tuple[str, str], tmp_path: Path, flavor: str) -> None:
    _, url = started
    events, project = recorded(tmp_path), f"demo-{flavor}"
    headers, own = f"x-project-name={project}", {"EVENTTREE_OTLP_FLAVOR": flavor}
    ship_twice(tmp_path, url, headers, **own)

    def look() -> list[dict[str, Any]]:
        reply = httpx.get(f"{url}/v1/projects/{project}/spans?limit=1000", trust_env=False)
        return reply.json()["data"] if reply.status_code == 200 else []

    spans = soon(look, lambda found: len(found) >= len(events))
    told = [span["attributes"] for span in spans]
    assert sorted(one["eventtree.id"] for one in told) == sorted(events), "each once, though sent twice"
    assert not [span for span in spans if span["span_kind"] == "UNKNOWN"]
    ids = {span["context"]["span_id"]: span["attributes"]["eventtree.id"] for span in spans}
    parents = {span["attributes"]["eventtree.id"]: ids.get(span["parent_id"]) for span in spans}
    assert parents == {event["id"]: event["parent_id"] for event in events.values()}
    for theirs, ours in (("prompt", "input_tokens"), ("completion", "output_tokens")):
        assert sum(one.get(f"llm.token_count.{theirs}", 0) for one in told) == total(events, ours) > 0
    assert {one["session.id"] for one in told} == {SESSION}
    assert {one["user.id"] for one in told} == {USER}
    if flavor == "openinference":
        model = next(event["id"] for event in events.values() if event["kind"] == "model")
        say(tmp_path, model, url, headers, **own)
        span = next(key for key, value in ids.items() if value == model)
        place = f"{url}/v1/projects/{project}/span_annotations?span_ids={span}"
        (note,) = soon(lambda: httpx.get(place, trust_env=False).json().get("data", []), bool)
        assert (note["name"], note["annotator_kind"]) == ("fit", "HUMAN")
        assert (note["result"]["score"], note["result"]["explanation"]) == (0.25, "so so")


@pytest.mark.parametrize("started", ["mlflow"], indirect=True)
def test_mlflow_shows_the_demos_trees_and_our_cost(started: tuple[str, str], tmp_path: Path) -> None:
    _, url = started
    events, headers = recorded(tmp_path), "x-mlflow-experiment-id=0"
    ship_twice(tmp_path, url, headers)
    trees = {event["tree_id"] for event in events.values()}
    for tree in trees:
        own = {event["id"]: event for event in events.values() if event["tree_id"] == tree}
        trace_id = f"tr-{tree.replace('-', '')}"
        asked = {"params": {"trace_id": trace_id}, "trust_env": False}
        trace = httpx.get(f"{url}/api/3.0/mlflow/traces/get", **asked).json()["trace"]
        known = trace["trace_info"]["trace_metadata"]
        used, cost = json.loads(known["mlflow.trace.tokenUsage"]), json.loads(known["mlflow.trace.cost"])
        assert (used["input_tokens"], used["output_tokens"]) == (
            total(own, "input_tokens"),
            total(own, "output_tokens"),
        )
        assert (known["mlflow.trace.session"], known["mlflow.trace.user"]) == (SESSION, USER)
        dollars = sum((event["cost"] or {}).get("total_usd") or 0 for event in own.values())
        assert cost["total_cost"] == pytest.approx(dollars, rel=1e-9)
        asked["params"] = {"request_id": trace_id}
        spans = httpx.get(f"{url}/ajax-api/3.0/mlflow/get-trace-artifact", **asked).json()["spans"]
        told = [{key: json.loads(value) for key, value in span["attributes"].items()} for span in spans]
        assert sorted(one["eventtree.id"] for one in told) == sorted(own), "each once, though sent twice"
        types = {one["eventtree.id"]: one["mlflow.spanType"] for one in told}
        assert "UNKNOWN" not in types.values()
        assert all(("MODEL" in types[run] or "LLM" in types[run]) == (own[run]["kind"] == "model") for run in own)
    root = next(event["id"] for event in events.values() if event["parent_id"] is None)
    say(tmp_path, root, url, headers)
    trace_id = f"tr-{root.replace('-', '')}"
    trace = httpx.get(f"{url}/api/3.0/mlflow/traces/get", params={"trace_id": trace_id}, trust_env=False).json()[
        "trace"
    ]
    (assessment,) = trace["trace_info"]["assessments"]
    assert (assessment["assessment_name"], assessment["feedback"]["value"]) == ("fit", 0.25)
    assert (assessment["source"]["source_id"], assessment["rationale"]) == ("eve", "so so")
