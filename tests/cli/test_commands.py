"""The command line, as a user calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from eventtree import flush
from eventtree.delivery.shipper import Shipper
from eventtree.event import Event
from eventtree.journal import DiskFiles, Journal
from eventtree.journal.clear import clear
from eventtree.kinds import Kind
from eventtree.recording.feedback import add_feedback
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import VENDORS, HoneyHive, vendor_class
from tests.cli.commands import run
from tests.trees import new_id, record_tree

FIELDS = [
    "id", "parent_id", "tree_id", "session_id", "kind", "name", "status", "error", "internal", "inputs", "outputs",
    "model", "provider", "params", "usage", "cost", "start", "duration", "time_to_first_token", "tags", "metadata",
    "user",
]  # fmt: skip
COUNTED = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
DETAILS = {"cache_read_tokens", "cache_write_tokens", "reasoning_tokens"}


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture
def journal(own_place: Path) -> Path:
    """A tree that is finished and one that is still open."""
    pipeline = Pipeline(journal=own_place, user="ada", session="talk", tags=["a"], metadata={"k": 1})
    record_tree(pipeline)
    recorder.open(pipeline, new_id(), None, kind=Kind.CHAIN, name="open")
    return own_place


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (("show", "--last", "9" * 30), 0), (("ls", "--last", "9" * 18), 0), (("ls", "-id:00"), 0),
        (("ls", "\udcff"), 0),
        (("show", "--tree", "\udcff"), 2), (("ship", "--timeout", "nan"), 2),
        (("view", "--no-browser", "--host", "\udcff"), 2), (("view", "--no-browser", "--host", "a" * 99), 2),
    ],
)  # fmt: skip
def test_what_nobody_would_write_ends_in_a_line_too(journal: Path, arguments: tuple[str, ...], status: int) -> None:
    done = run(*arguments, EVENTTREE_JOURNAL=str(journal))
    assert (done.returncode, done.stderr.count("\n")) == (status, bool(status)), done.stderr


def test_show_json_has_every_field_of_every_event(journal: Path) -> None:
    events = lines(run("show", "--json", "--journal", str(journal)).stdout)
    assert len(events) == 4
    for event in events:
        assert set(FIELDS) <= set(event)
        Event.model_validate(event)
    model = next(event for event in events if event["kind"] == "model")
    assert {name: model["usage"][name] for name in COUNTED} == COUNTED
    assert set(model["usage"]) >= DETAILS
    assert model["cost"]["total_usd"] == pytest.approx(10 * 0.15e-6 + 5 * 0.6e-6)
    assert events[-1]["status"] == "incomplete"
    assert events[-1]["duration"] is None
    assert {(event["session_id"], event["user"]) for event in events} == {("talk", "ada")}


def test_show_draws_the_last_trees_plainly_when_piped(journal: Path) -> None:
    done = run("show", "--journal", str(journal), "--last", "1")
    assert "open" in done.stdout
    assert "ChatModel" not in done.stdout
    assert "\x1b" not in done.stdout
    whole = run("show", "--journal", str(journal)).stdout
    assert "\n  model ChatModel gpt-4o-mini" in whole
    assert "15" in whole


@pytest.mark.parametrize("kind", VENDORS)
def test_export_prints_requests_without_key(journal: Path, kind: str) -> None:
    keys = {names["api_key"][0]: "secret" for names in (vendor_class(each).env for each in VENDORS)}
    for given in ({}, keys):
        done = run("export", "--vendor", kind, "--journal", str(journal), **given)
        assert done.returncode == 0, done.stderr
        requests = lines(done.stdout)
        assert requests
        for request in requests:
            assert set(request) == {"method", "url", "headers", "body"}
            assert request["url"].startswith("http://localhost:4318/v1/traces" if kind == "otlp" else "https://")
            assert "{" not in request["url"]
            assert not {name.lower() for name in request["headers"]} & {"authorization", "x-api-key"}
        assert "secret" not in done.stdout


EXPORT: dict[str, tuple[str, list[str], dict[str, str], str]] = {
    "project of the environment": ("braintrust", [], {"BRAINTRUST_PROJECT": "web"}, "/v1/project_logs/web/insert"),
    "project id": ("braintrust", [], {"BRAINTRUST_PROJECT_ID": "p-1"}, "/v1/project_logs/p-1/insert"),
    "project of an argument": ("braintrust", ["--project", "app"], {"BRAINTRUST_PROJECT": "web"}, "/app/insert"),
    "host of the environment": ("braintrust", [], {"BRAINTRUST_API_URL": "https://eu.test"}, "https://eu.test/v1/"),
    "host of an argument": ("nebuly", ["--host", "https://a.test"], {"NEBULY_API_URL": "https://b.test"}, "https://a.test"),
    "experiment": ("braintrust", ["--experiment", "nightly"], {}, "/v1/experiment/nightly/insert"),
    "source of the environment": ("honeyhive", [], {"HH_SOURCE": "ci"}, '"source": "ci"'),
    "source of an argument": ("honeyhive", ["--source", "local"], {"HH_SOURCE": "ci"}, '"source": "local"'),
    "project of HoneyHive": ("honeyhive", [], {"HH_PROJECT": "web"}, '"project": "web"'),
    "generation": ("honeyhive", ["--generation", "v1"], {}, "/v1/"),
    "project of Humanloop": ("humanloop_v5", [], {"HUMANLOOP_PROJECT": "web"}, "web"),
    "another setting": ("nebuly", ["--set", "version=v3"], {}, "/api/v3/"),
    "a switch": ("nebuly", ["--set", "anonymize=off"], {}, '"anonymize": false'),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPORT)
def test_export_uses_what_a_delivery_would_and_arguments_before_that(journal: Path, name: str) -> None:
    kind, arguments, environment, expected = EXPORT[name]
    done = run("export", "--vendor", kind, "--journal", str(journal), *arguments, **environment)
    assert done.returncode == 0, done.stderr
    assert expected in done.stdout


def test_export_shows_the_very_bodies_that_a_delivery_in_this_environment_sends(own_place: Path) -> None:
    with VendorServer() as server:
        settings = server.settings("honeyhive")
        env = {"HH_PROJECT": "web", "HH_SOURCE": "ci", "HH_API_URL": settings["base_url"]}
        record_tree(Pipeline(vendors=[HoneyHive(project="web", source="ci", **settings)]))
        assert flush(20).settled
        exported = lines(run("export", "--vendor", "honeyhive", **env).stdout)
        assert [one["body"] for one in exported] == [one.body for one in server.requests]
        assert [one["url"] for one in exported] == [server.url + one.path for one in server.requests]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "x"], "Braintrust.source: there is no such setting"),
        (["--set", "projct=x"], "Did you mean project?"),
        (["--set", "project"], "Write NAME=VALUE"),
        (["--set", "api_key=x"], "has no key"),
        (["--host", "nowhere"], "is no URL"),
    ],
)
def test_export_names_a_setting_that_is_wrong(journal: Path, arguments: list[str], words: str) -> None:
    done = run("export", "--vendor", "braintrust", "--journal", str(journal), *arguments)
    assert done.returncode == 2
    assert words in done.stderr


def test_export_uses_the_projects_name_where_an_id_would_be_looked_up(journal: Path) -> None:
    urls = {line["url"] for line in lines(run("export", "--vendor", "braintrust", "--journal", str(journal)).stdout)}
    assert urls == {"https://api.braintrust.dev/v1/project_logs/default/insert"}


def test_export_for_nebuly_names_an_unknown_user(own_place: Path) -> None:
    record_tree(Pipeline(journal=own_place))
    (request,) = lines(run("export", "--vendor", "nebuly", "--journal", str(own_place)).stdout)
    assert request["body"]["interaction"]["end_user"] == "unknown"


def test_report_counts_what_waits(own_place: Path) -> None:
    pipeline = Pipeline(journal=own_place, deliver=False, vendors=[vendor_of("braintrust", "http://127.0.0.1:9")])
    record_tree(pipeline)
    found = json.loads(run("report", "--json", "--journal", str(own_place)).stdout)
    assert found["events"] == 3
    assert found["vendors"]["braintrust"]["waiting"] == found["vendors"]["braintrust"]["accepted"] == 3
    assert "braintrust" in run("report", "--journal", str(own_place)).stdout


def vendor_of(kind: str, url: str) -> Any:
    from eventtree.vendors import vendor_class

    return vendor_class(kind)(api_key="k", base_url=url)


def test_clear_removes_one_tree_and_counts_what_waited(own_place: Path) -> None:
    pipeline = Pipeline(journal=own_place, deliver=False, vendors=[vendor_of("braintrust", "http://127.0.0.1:9")])
    first, second = record_tree(pipeline, question="find-me-first"), record_tree(pipeline, question="find-me-second")
    with VendorServer() as server:
        env = {"BRAINTRUST_API_KEY": "k", "BRAINTRUST_API_URL": "http://127.0.0.1:9"}
        done = run("clear", "--yes", "--tree", "-", "--journal", str(own_place))
        assert (done.returncode, "no tree -" in done.stderr) == (2, True)
        assert (
            "Cleared 1 tree." in run("clear", "--yes", "--tree", first[-8:], "--journal", str(own_place), **env).stdout
        )
        text = b"".join(path.read_bytes() for path in own_place.glob("*.log"))
        assert b"find-me-first" not in text
        assert b"find-me-second" in text
        assert {event["tree_id"] for event in lines(run("show", "--json", "--journal", str(own_place)).stdout)} == {
            second
        }
        record_tree(pipeline)
        assert len({e["tree_id"] for e in lines(run("show", "--json", "--journal", str(own_place)).stdout)}) == 2
        assert not server.requests
        sums = json.loads(run("report", "--json", "--journal", str(own_place)).stdout)["vendors"]["braintrust"]
        assert (sums["accepted"], sums["waiting"], sums["dropped"]) == (9, 6, {"by_user": 3})


@pytest.mark.parametrize("stdin", ["y\n", "n\n" * 9, "", None])
def test_clear_refuses_where_nobody_can_be_asked(own_place: Path, stdin: str | None) -> None:
    """`yes n | eventtree clear`, cron, a pipeline of CI."""
    record_tree(Pipeline(journal=own_place))
    given = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    done = subprocess.run(
        [sys.executable, "-m", "eventtree", "clear"], capture_output=True, text=True, check=False, timeout=300, **given
    )
    assert done.returncode == 2
    assert done.stderr.startswith("eventtree: clear: ")
    assert f"1 tree (none waiting for a vendor) of {own_place}. Add --yes" in done.stderr
    assert lines(run("show", "--json").stdout)


@pytest.mark.parametrize(("reply", "left"), [("n", 3), ("", 3), ("y", 0)])
def test_clear_asks_with_the_folder_the_number_of_trees_and_who_waits(own_place: Path, reply: str, left: int) -> None:
    vendors = [vendor_of("braintrust", "http://127.0.0.1:9"), vendor_of("nebuly", "http://127.0.0.1:9")]
    for chosen in ([], vendors[:1], vendors):
        record_tree(Pipeline(journal=own_place, deliver=False, vendors=chosen))
    ours, theirs = os.openpty()
    try:
        os.write(ours, f"{reply}\n".encode())
        done = subprocess.run(
            [sys.executable, "-m", "eventtree", "clear"], stdin=theirs, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
    finally:
        os.close(ours)
        os.close(theirs)
    asked = f"Delete 3 trees (2 waiting for braintrust, 1 waiting for nebuly) of {own_place}? [y/N]"
    assert asked in done.stdout + done.stderr
    assert done.returncode == (0 if reply == "y" else 1)
    assert len({event["tree_id"] for event in lines(run("show", "--json").stdout)}) == left


def test_clear_counts_for_the_vendor_of_a_second_handler_and_what_was_not_sampled(own_place: Path) -> None:
    first = Pipeline(journal=own_place)
    second = Pipeline(journal=own_place, deliver=False, vendors=[vendor_of("braintrust", "http://127.0.0.1:9")])
    tree = new_id()
    for pipeline in (first, second):
        recorder.open(pipeline, tree, None, kind=Kind.CHAIN, name="chain")
    recorder.close(first, tree)
    record_tree(Pipeline(journal=own_place, deliver=False, vendors=second.vendors, sample_rate=0.0))
    assert "Cleared 1 tree." in run("clear", "--yes", "--journal", str(own_place)).stdout
    sums = json.loads(run("report", "--json", "--journal", str(own_place)).stdout)["vendors"]["braintrust"]
    assert (sums["accepted"], sums["waiting"], sums["dropped"]) == (4, 0, {"by_user": 1, "sampled": 3})


@pytest.mark.parametrize("has_read", [False, True])
def test_clear_counts_beside_a_shipper_that_holds_the_vendor(own_place: Path, has_read: bool) -> None:
    """Whether or not it has come to the tree yet. The tree of which all has gone out is not counted again."""
    with VendorServer() as server:
        pipeline = Pipeline(journal=own_place, deliver=False, vendors=[vendor_of("braintrust", server.url)])
        shipper = Shipper(pipeline.journal)
        record_tree(pipeline)
        shipper.serve(pipeline.vendors, pipeline.settings.model_copy(update={"deliver": True}))
        assert shipper.flush(10).vendors["braintrust"].delivered == 3
        server.script("braintrust", [Answer(503, headers={"Retry-After": "3"})])
        record_tree(pipeline)
        (consumer,) = shipper.consumers.values()
        before = consumer.sender.requests
        while consumer.sender.requests == before:  # from now on it waits, with the second tree in its hands
            shipper.wake()
            time.sleep(0.01)
        record_tree(pipeline, question="find-me")
        if has_read:
            shipper._ask(consumer._read, time.monotonic() + 5)
        # At once, and not by a command that takes seconds to start: what is in its hands must not have gone by then.
        assert clear(Journal(DiskFiles(own_place))) == 3
        sums = shipper.flush(60).vendors["braintrust"]
        shipper.stop()
        assert b"find-me" not in b"".join(path.read_bytes() for path in own_place.iterdir())
        assert (sums.accepted, sums.delivered, sums.dropped, sums.waiting) == (9, 6, {"by_user": 3}, 0)


def test_feedback_on_what_is_not_here_is_no_tree_to_clear(own_place: Path) -> None:
    record_tree(pipeline := Pipeline(journal=own_place))
    add_feedback(pipeline.journal, unknown := new_id(), unknown, None, {"score": 1})
    assert f"delete 1 tree (none waiting for a vendor) of {own_place}" in run("clear").stderr
    assert run("clear", "--yes").stdout == "Cleared 1 tree.\n"
    assert not [log for log in own_place.glob("*.log") if b"score" in log.read_bytes()]


def test_clear_without_a_tree_leaves_nothing(own_place: Path) -> None:
    pipeline = Pipeline(journal=own_place)
    record_tree(pipeline, question="find-me")
    assert "Cleared 1 tree." in run("clear", "--yes", "--journal", str(own_place)).stdout
    assert b"find-me" not in b"".join(path.read_bytes() for path in own_place.iterdir())
    assert run("show", "--json", "--journal", str(own_place)).stdout == ""


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["show", "--journal", "/nowhere/at/all"], "--journal DIR"),
        (["ship", "--timeout", "-1"], "Invalid value for '--timeout': -1.0 is not in the range x>=0."),
        (["export", "--vendor", "acme"], "Known are honeyhive"),
        (["show", "--tree", "none"], "eventtree show"),
        (["show", "--last", "-1"], "eventtree show --help"),
        (["clear", "--tree", "none"], "eventtree ls"),
        (["ship", "--vendor", "honeyhive"], "HH_API_KEY"),
        (["ship", "--replay"], "--vendor"),
        (["show", "--journal", ":memory:"], "--journal DIR"),
    ],
)
def test_errors_are_one_line_that_says_what_to_do(journal: Path, arguments: list[str], hint: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert hint in done.stderr


def test_without_a_command_the_help_is_shown() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ") and "  report " in done.stdout
    assert "..." not in done.stdout.partition("Commands:")[2], "each command's line is a whole sentence"


def test_every_command_explains_itself() -> None:
    for command in ("", "show", "ls", "experiment", "export", "report", "ship", "clear", "demo"):
        done = run(*([command] if command else []), "--help")
        assert done.returncode == 0
        assert "Usage" in done.stdout


def test_ctrl_c_while_the_command_is_imported_ends_it_in_one_line() -> None:
    program = (
        "import sys\n"
        "class Stopped:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'eventtree.cli': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Stopped())\n"
        "from eventtree.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "eventtree: stopped\n")


@pytest.mark.parametrize("arguments", [["ls"], ["show"], ["show", "--json"]])
def test_any_text_is_printed_whatever_the_locale(own_place: Path, arguments: list[str]) -> None:
    record_tree(Pipeline(journal=own_place, tags=["é漢字🙂\ud800"]), question="é漢字🙂")
    command = [sys.executable, "-m", "eventtree", *arguments]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "é漢字🙂" in done.stdout.decode("utf-8") or arguments == ["ls"]


@pytest.mark.parametrize("command", ["ls", "show --last 300", "show --json", "report"])
def test_a_reader_that_goes_gets_no_traceback(own_place: Path, command: str) -> None:
    """As with `| head`."""
    pipeline = Pipeline(journal=own_place)
    for _ in range(300):
        record_tree(pipeline)
    given = [sys.executable, "-m", "eventtree", *command.split()]
    process = subprocess.Popen(given, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (1, b"")  # click's


def test_who_closes_the_outputs_gets_no_traceback(own_place: Path) -> None:
    record_tree(Pipeline(journal=own_place))
    command = ["sh", "-c", f'"{sys.executable}" -m eventtree ls >&-']
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
