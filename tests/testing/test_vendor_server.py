"""`VendorServer` over real sockets: what each vendor takes, what each refuses and why, and what a script can do."""

from __future__ import annotations

import ast
import itertools
import json
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx
import pytest

from eventtree.errors import ConfigError
from eventtree.testing import Answer, VendorServer, contracts
from tests.testing.wrong_requests import braintrust, honeyhive, humanloop_v4, humanloop_v5, nebuly, otlp
from tests.testing.wrong_requests.wrong import Wrong

TABLES: dict[str, ModuleType] = {
    "honeyhive": honeyhive,
    "humanloop_v5": humanloop_v5,
    "humanloop_v4": humanloop_v4,
    "braintrust": braintrust,
    "nebuly": nebuly,
    "otlp": otlp,
}
CONTRACTS = sorted(TABLES)
HEADERS = {"Authorization": "Bearer k", "X-API-KEY": "k"}
ENOUGH = 15


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer(braintrust_projects=[braintrust.PROJECT]) as running:
        yield running


@pytest.fixture
def client(server: VendorServer) -> Iterator[httpx.Client]:
    with connect(server) as opened:
        yield opened


def connect(server: VendorServer) -> httpx.Client:
    return httpx.Client(base_url=server.url, headers=HEADERS, verify=False, trust_env=False)


def send(client: httpx.Client, method: str, path: str, body: Any = None) -> httpx.Response:
    return client.request(method, path, json=body) if body is not None else client.request(method, path)


def set_up(client: httpx.Client, vendor: str) -> None:
    for method, path, body in TABLES[vendor].SETUP:
        assert send(client, method, path, body).is_success


def state(server: VendorServer, vendor: str) -> list[list[Any]]:
    kinds = (server.events, server.sessions, server.updates, server.feedback, server.tags)
    return [kind(vendor) for kind in kinds]


WRONG = [pytest.param(vendor, wrong, id=f"{vendor}-{wrong}") for vendor in CONTRACTS for wrong in TABLES[vendor].WRONG]


@pytest.mark.parametrize(("vendor", "wrong"), WRONG)
def test_wrong_request_is_refused_for_its_own_reason(
    server: VendorServer, client: httpx.Client, vendor: str, wrong: Wrong
) -> None:
    set_up(client, vendor)
    before = state(server, vendor)
    assert not server.refused
    response = send(client, wrong.method, wrong.path, wrong.body)
    assert [one.problem for one in server.refused] == [wrong.reason]
    assert response.status_code == wrong.status
    assert server.refused[0].vendor == vendor
    if "twice in a batch" not in wrong.name:  # there the first of the two is taken
        assert state(server, vendor) == before


@pytest.mark.parametrize("vendor", CONTRACTS)
def test_every_vendor_refuses_at_least_fifteen_things_for_different_reasons(vendor: str) -> None:
    assert len({wrong.reason for wrong in TABLES[vendor].WRONG}) >= ENOUGH
    assert len({wrong.name for wrong in TABLES[vendor].WRONG}) == len(TABLES[vendor].WRONG)


def test_wrong_bodies_of_humanloop_and_nebuly_get_the_detail_of_fastapi(client: httpx.Client) -> None:
    for path, body in [("/v5/tools/log", {}), ("/v4/logs", {}), (nebuly.V2, {})]:
        response = send(client, "POST", path, body)
        assert response.status_code == 422
        assert {"loc", "msg", "type"} == response.json()["detail"][0].keys()


def test_honeyhive_legacy_takes_a_session_its_events_and_an_update(server: VendorServer, client: httpx.Client) -> None:
    started = send(client, "POST", "/session/start", honeyhive.session()).json()
    assert (started["session_id"], started["event_id"]) == (honeyhive.SESSION, honeyhive.SESSION)
    answer = send(client, "POST", "/events/batch", honeyhive.batch(honeyhive.ROOT_EVENT, honeyhive.event())).json()
    assert answer == {"event_ids": [honeyhive.ROOT, honeyhive.CHILD], "success": True}
    update = {"event_id": honeyhive.SESSION, "outputs": {"answer": "ho"}, "feedback": {"rating": 1}}
    assert send(client, "PUT", "/events", update).status_code == 200
    assert server.event_ids("honeyhive") == [honeyhive.ROOT, honeyhive.CHILD]
    assert server.sessions("honeyhive") == [honeyhive.session()["session"]]
    assert server.updates("honeyhive") == [update]
    assert not server.refused


def test_honeyhive_v1_takes_bare_bodies_and_a_session_twice(server: VendorServer, client: httpx.Client) -> None:
    session = {"session_id": honeyhive.SESSION, "session_name": "chat"}
    for _ in range(2):
        assert send(client, "POST", "/v1/sessions", session).json()["event_name"] == "chat"
    root = honeyhive.v1(event_id=honeyhive.ROOT, parent_id=honeyhive.SESSION)
    assert send(client, "POST", "/v1/events", root).json() == {"event_id": honeyhive.ROOT, "success": True}
    path = f"/v1/sessions/{honeyhive.SESSION}/events/batch"
    assert send(client, "POST", path, honeyhive.batch(honeyhive.v1())).json() == {"success": True}
    assert send(client, "PUT", f"/v1/events/{honeyhive.ROOT}", {"metrics": {"good": 1}}).status_code == 200
    assert server.repeats("honeyhive") == (1, 0)
    assert not server.refused


def test_honeyhive_event_of_type_session_is_the_session(server: VendorServer, client: httpx.Client) -> None:
    start = without_parent(honeyhive.v1(event_id=honeyhive.SESSION, event_type="session"))
    child = honeyhive.v1(parent_id=honeyhive.SESSION)
    answer = send(client, "POST", "/v1/events/batch", honeyhive.batch(start, child))
    assert answer.json()["event_ids"] == [honeyhive.SESSION, honeyhive.CHILD]
    assert len(server.sessions("honeyhive")) == len(server.events("honeyhive")) == 1


def without_parent(event: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in event.items() if key != "parent_id"}


def test_honeyhive_single_session_is_started_by_its_batch(server: VendorServer, client: httpx.Client) -> None:
    event = {key: value for key, value in honeyhive.event().items() if key not in ("session_id", "parent_id")}
    body = honeyhive.batch(event, is_single_session=True, session_properties={"session_id": honeyhive.SESSION})
    assert send(client, "POST", "/events/batch", body).json()["session_id"] == honeyhive.SESSION
    assert len(server.sessions("honeyhive")) == 1


def test_honeyhive_batch_with_one_wrong_event_creates_the_others_and_says_500(
    server: VendorServer, client: httpx.Client
) -> None:
    set_up(client, "honeyhive")
    wrong = honeyhive.event(event_id=honeyhive.UNKNOWN, start_time=1_760_000_000)
    response = send(client, "POST", "/events/batch", honeyhive.batch(wrong, honeyhive.event()))
    assert response.status_code == 500
    answer = response.json()
    assert answer["event_ids"] == [honeyhive.CHILD]
    assert answer["errors"] == ["events.0.start_time: must be milliseconds since 1970, looks like seconds"]
    assert answer["success"] is False
    assert server.event_ids("honeyhive") == [honeyhive.ROOT, honeyhive.CHILD]
    assert server.refused[0].problem == answer["errors"][0]


def test_humanloop_v5_takes_a_trace_from_opening_to_judgment(server: VendorServer, client: httpx.Client) -> None:
    flow = send(client, "POST", "/v5/flows/log", humanloop_v5.flow(log_id="open-flow")).json()
    assert flow["id"] == "open-flow"
    assert flow["log_status"] == "incomplete"
    prompt = send(client, "POST", "/v5/prompts/log", humanloop_v5.prompt()).json()
    assert prompt.keys() == {"id", "prompt_id", "version_id"}
    tool = humanloop_v5.tool(trace_parent_id="new-prompt")
    assert send(client, "POST", "/v5/tools/log", tool).json()["tool_id"].startswith("tl_")
    path = f"/v5/prompts/{prompt['prompt_id']}/log/new-prompt"
    assert send(client, "PATCH", path, {"finish_reason": "stop"}).status_code == 200
    done = {"log_status": "complete", "output": "ho"}
    assert send(client, "PATCH", "/v5/flows/logs/open-flow", done).json()["log_status"] == "complete"
    judgment = {"path": "rating", "parent_id": "new-prompt", "judgment": "good", "log_id": "verdict"}
    assert send(client, "POST", "/v5/evaluators/log", judgment).json()["parent_id"] == "new-prompt"
    assert server.event_ids("humanloop_v5") == ["open-flow", "new-prompt", "new-tool"]
    assert server.feedback("humanloop_v5") == [judgment]
    assert not server.refused


def test_humanloop_v5_repeats_an_answer_for_a_log_that_came_before_even_when_the_trace_is_complete(
    server: VendorServer, client: httpx.Client
) -> None:
    set_up(client, "humanloop_v5")
    again = humanloop_v5.prompt(log_id="done-prompt", trace_parent_id="done-flow")
    assert send(client, "POST", "/v5/prompts/log", again).json()["id"] == "done-prompt"
    assert server.repeats("humanloop_v5") == (1, 0)


def test_humanloop_v5_agent_opens_a_trace(client: httpx.Client) -> None:
    agent = {
        "path": "rag/agent",
        "agent": {"model": "m", "max_iterations": 3},
        "log_id": "a",
        "log_status": "incomplete",
    }
    opened = send(client, "POST", "/v5/agents/log", agent).json()
    assert send(client, "POST", "/v5/tools/log", humanloop_v5.tool(trace_parent_id="a")).status_code == 200
    path = f"/v5/agents/{opened['agent_id']}/log/a"
    assert send(client, "PATCH", path, {"log_status": "complete", "output": "ho"}).json()["log_status"] == "complete"


def test_humanloop_v5_older_dialect_knows_trace_status_and_no_log_id_on_prompts() -> None:
    flow = {key: value for key, value in humanloop_v5.flow(log_id="f").items() if key != "log_status"}
    prompt = {key: value for key, value in humanloop_v5.prompt(trace_parent_id="f").items() if key != "log_id"}
    with (
        VendorServer(humanloop_dialect="trace_status") as server,
        connect(server) as client,
    ):
        assert send(client, "POST", "/v5/flows/log", flow | {"trace_status": "incomplete"}).status_code == 200
        child = send(client, "POST", "/v5/prompts/log", prompt).json()["id"]
        nested = flow | {"log_id": "n", "trace_parent_id": child}
        assert send(client, "POST", "/v5/flows/log", nested).status_code == 200
        assert (
            send(client, "PATCH", "/v5/flows/logs/f", {"trace_status": "complete", "output": "ho"}).status_code == 200
        )
        assert not server.refused
        send(client, "POST", "/v5/prompts/log", prompt | {"log_id": "p"})
        send(client, "POST", "/v5/flows/log", flow | {"log_status": "incomplete"})
        send(client, "POST", "/v5/agents/log", {"path": "a"})
        send(client, "PATCH", "/v5/flows/logs/f", {"output": "ho"})
        assert [one.problem for one in server.refused] == [
            "log_id: unknown key",
            "log_status: unknown key",
            "agents do not exist in this version",
            "trace_status: required key is missing",
        ]


def test_humanloop_v4_takes_a_tree_level_by_level(server: VendorServer, client: httpx.Client) -> None:
    root = send(client, "POST", "/v4/logs", humanloop_v4.ROOT_LOG).json()
    children = [humanloop_v4.log(reference_id="a"), humanloop_v4.log(reference_id="b")]
    answer = send(client, "POST", "/v4/logs", children).json()
    assert len(answer) == 2
    assert {one["session_id"] for one in answer} == {root["session_id"]}
    assert {one["project_id"] for one in answer} == {root["project_id"]}
    assert send(client, "PATCH", "/v4/logs?reference_id=root", {"output": "ho"}).status_code == 200
    assert send(client, "PATCH", f"/v4/logs/{root['id']}", {"duration": 1.5}).status_code == 200
    feedback = {"type": "rating", "value": "good", "data_id": root["id"]}
    assert send(client, "POST", "/v4/feedback", [feedback]).json()[0]["id"].startswith("ann_")
    assert server.event_ids("humanloop_v4") == ["root", "a", "b"]
    assert server.updates("humanloop_v4") == [{"output": "ho"}, {"duration": 1.5}]
    assert not server.refused


def test_humanloop_v4_makes_projects_and_sessions_with_201(client: httpx.Client) -> None:
    assert send(client, "POST", "/v4/projects", {"name": "rag"}).status_code == 201
    session = send(client, "POST", "/v4/sessions")
    assert session.status_code == 201
    log = {key: value for key, value in humanloop_v4.ROOT_LOG.items() if key != "session_reference_id"}
    assert send(client, "POST", "/v4/logs", log).json()["session_id"] is None
    inside = log | {"reference_id": "r", "session_id": session.json()["id"]}
    evaluation = {"datapoint_id": "dp", "log": inside}
    answer = send(client, "POST", "/v4/evaluations/ev_1/log", evaluation)
    assert (answer.status_code, answer.json()["session_id"]) == (201, session.json()["id"])


def test_humanloop_v4_array_is_taken_as_a_whole_or_not_at_all(server: VendorServer, client: httpx.Client) -> None:
    set_up(client, "humanloop_v4")
    response = send(client, "POST", "/v4/logs", [humanloop_v4.log(), humanloop_v4.log(reference_id="b", output=None)])
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", 1, "output"]
    assert server.event_ids("humanloop_v4") == ["root"]


def test_braintrust_takes_rows_of_a_project_found_by_name(server: VendorServer, client: httpx.Client) -> None:
    login = send(client, "POST", "/api/apikey/login").json()["org_info"][0]
    assert login["api_url"] == server.url
    project = send(client, "POST", "/v1/project", {"name": "rag"}).json()
    assert send(client, "POST", "/v1/project", {"name": "rag"}).json() == project
    assert send(client, "GET", "/v1/project?project_name=rag").json()["objects"] == [project]
    rows = braintrust.rows(braintrust.ROOT_ROW, braintrust.row())
    path = f"/v1/project_logs/{project['id']}"
    assert send(client, "POST", f"{path}/insert", rows).json() == {"row_ids": ["root", "child"]}
    feedback = {"feedback": [{"id": "root", "scores": {"thumbs": 1}, "source": "external"}]}
    assert send(client, "POST", f"{path}/feedback", feedback).json() == {"status": "success"}
    assert server.events("braintrust") == rows["events"]
    assert server.feedback("braintrust") == feedback["feedback"]
    assert send(client, "GET", "/version").json()["logs3_payload_max_bytes"] == 6 * 1024 * 1024
    assert not server.refused


def test_braintrust_experiment_of_the_same_name_is_the_same_unless_a_new_one_is_asked_for(client: httpx.Client) -> None:
    asked = {"project_id": braintrust.PROJECT, "name": "run"}
    first = send(client, "POST", "/v1/experiment", asked).json()
    assert send(client, "POST", "/v1/experiment", asked).json() == first
    assert send(client, "POST", "/v1/experiment", asked | {"ensure_new": True}).json()["id"] != first["id"]
    path = f"/v1/experiment/{first['id']}"
    rows = braintrust.rows(braintrust.ROOT_ROW)
    assert send(client, "POST", f"{path}/insert", rows).json() == {"row_ids": ["root"]}
    assert send(client, "POST", f"{path}/feedback", {"feedback": [{"id": "root"}]}).status_code == 200


def test_braintrust_model_call_may_lack_its_messages(server: VendorServer, client: httpx.Client) -> None:
    """B.1: all fields are optional and nullable."""
    set_up(client, "braintrust")
    bare = {key: value for key, value in braintrust.row().items() if key not in ("input", "output")}
    for row in (bare, bare | {"input": None, "output": None}, {"id": "child", "_is_merge": True, "tags": ["a"]}):
        assert send(client, "POST", braintrust.INSERT, braintrust.rows(row)).status_code == 200
    assert not server.refused


def test_braintrust_row_with_a_known_id_replaces_it_and_is_counted(server: VendorServer, client: httpx.Client) -> None:
    set_up(client, "braintrust")
    later = [
        braintrust.ROOT_ROW,
        braintrust.ROOT_ROW | {"output": "hum"},
        {"id": "root", "_is_merge": True, "tags": ["a"]},
    ]
    for row in later:
        assert send(client, "POST", braintrust.INSERT, braintrust.rows(row)).status_code == 200
    assert server.repeats("braintrust") == (1, 2)


def test_braintrust_refuses_six_mebibytes_and_a_byte(server: VendorServer, client: httpx.Client) -> None:
    set_up(client, "braintrust")
    frame = len(json.dumps(braintrust.rows(braintrust.row(expected=""))).encode())
    room = 6 * 1024 * 1024 - frame
    for size, status in [(room, 200), (room + 1, 413)]:
        content = json.dumps(braintrust.rows(braintrust.row(expected="x" * size)))
        response = client.post(braintrust.INSERT, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code == status
    assert server.refused[0].problem == "body is larger than 6291456 bytes"


def test_nebuly_takes_both_versions_and_answers_without_json(server: VendorServer, client: httpx.Client) -> None:
    v3 = nebuly.trace(traces=[nebuly.MODEL_STEP | {"cost": 12}], user_feedback=[nebuly.UP])
    answers = [send(client, "POST", nebuly.V2, nebuly.trace()), send(client, "POST", nebuly.V3, v3)]
    assert [(one.status_code, one.text) for one in answers] == [(200, ""), (200, "Accepted")]
    assert send(client, "POST", nebuly.FEEDBACK, {"metadata": nebuly.PLACE, "action": nebuly.UP}).status_code == 200
    late = {"tags": {"late": "true"}, "metadata": {"end_user": "u", "time_start": "2025-10-09T08:53:20Z"}}
    assert send(client, "POST", nebuly.TAGS, late).status_code == 200
    assert server.events("nebuly") == [nebuly.trace(), v3]
    assert server.tags("nebuly") == [late]
    assert not server.refused


def test_nebuly_cannot_tell_a_repeat_so_it_is_taken_and_counted(server: VendorServer, client: httpx.Client) -> None:
    for _ in range(3):
        send(client, "POST", nebuly.V2, nebuly.trace())
    assert server.repeats("nebuly") == (2, 0)
    assert len(server.events("nebuly")) == 3


@pytest.mark.parametrize("vendor", CONTRACTS)
def test_settings_lead_to_the_vendor(vendor: str) -> None:
    bases = {"humanloop_v5": "/v5", "humanloop_v4": "/v4"}
    with VendorServer(key="secret") as server:
        assert server.settings(vendor) == {"api_key": "secret", "base_url": server.url + bases.get(vendor, "")}


@pytest.mark.parametrize("vendor", CONTRACTS)
def test_key_is_asked_for_in_the_right_header_and_form(vendor: str) -> None:
    method, path, body = TABLES[vendor].SETUP[0]
    bearer = not vendor.startswith("humanloop")
    right, other = {"Authorization": "Bearer secret"}, {"X-API-KEY": "secret"}
    bare = {"Authorization": "secret"}
    if not bearer:
        right, other, bare = other, right, {"X-API-KEY": ""}
    wrong = {name: f"{value}x" for name, value in right.items()}
    with VendorServer(key="secret", braintrust_projects=[braintrust.PROJECT]) as server:
        statuses = [
            httpx.request(
                method, server.url + path, json=body, headers=headers, verify=False, trust_env=False
            ).status_code
            for headers in ({}, other, bare, wrong, right)
        ]
        assert statuses == [401, 401, 401, 401, 200]
        header, form = ("authorization", "Bearer <key>") if bearer else ("x-api-key", "<key>")
        missing, malformed = f"header {header} is missing", f"header {header} is not of the form '{form}'"
        assert [one.problem for one in server.refused] == [missing, missing, malformed, "wrong key"]


@pytest.mark.parametrize("vendor", CONTRACTS)
@pytest.mark.parametrize(
    ("content", "content_type", "problem"),
    [
        (b'{"a": NaN}', "application/json", "NaN is not JSON"),
        (b'{"a": -Infinity}', "application/json", "-Infinity is not JSON"),
        (b'{"a": 1e999}', "application/json", "1e999 is too large a number"),
        (b'{"a": "\xff"}', "application/json", "body is not UTF-8"),
        (b'{"a": "\\ud800"}', "application/json", "body has half a surrogate pair"),
        (b'{"a": ', "application/json", "body is not JSON"),
        (b"", "application/json", "body is empty"),
        (b"{}", "text/plain", "content type is text/plain, not application/json"),
    ],
)
def test_body_that_is_no_json_is_refused(
    server: VendorServer, client: httpx.Client, vendor: str, content: bytes, content_type: str, problem: str
) -> None:
    method, path, _ = TABLES[vendor].SETUP[0]
    response = client.request(method, path, content=content, headers={"Content-Type": content_type})
    assert response.status_code in (400, 415, 422)
    assert (server.refused[0].problem or "").startswith(problem)
    assert server.refused[0].body == content or isinstance(server.refused[0].body, dict)


def test_unknown_path_is_404_and_wrong_method_405(server: VendorServer, client: httpx.Client) -> None:
    assert send(client, "POST", "/nowhere", {}).status_code == 404
    assert send(client, "POST", "/v5/logs", {}).status_code == 404
    assert send(client, "DELETE", "/events").status_code == 405
    assert send(client, "GET", "/v4/feedback").status_code == 405
    seen = [(one.vendor, one.problem) for one in server.refused]
    assert seen == [
        ("", "unknown path"),
        ("humanloop_v5", "unknown path"),
        ("honeyhive", "wrong method"),
        ("humanloop_v4", "wrong method"),
    ]


@pytest.mark.parametrize("vendor", CONTRACTS)
def test_scripted_answers_come_first_and_have_no_effect(
    server: VendorServer, client: httpx.Client, vendor: str
) -> None:
    method, path, body = TABLES[vendor].SETUP[0]
    server.script(vendor, [429, 200, Answer(503, headers={"Retry-After": "7"}), Answer(418, body={"tea": True})])
    first, passed, slow, tea, last = [send(client, method, path, body) for _ in range(5)]
    assert [one.status_code for one in (first, passed, slow, tea, last)] == [429, 200, 503, 418, 200]
    assert slow.headers["retry-after"] == "7"
    assert tea.json() == {"tea": True}
    assert [one.scripted for one in server.requests] == [True, False, True, True, False]
    assert not server.refused
    kept = server.sessions(vendor) if vendor == "honeyhive" else server.events(vendor)
    assert len(kept) == 2
    assert server.repeats(vendor) == (1, 0)


def test_script_touches_its_own_vendor_only_and_can_be_endless_and_dropped() -> None:
    with (
        VendorServer(script={"nebuly": itertools.repeat(503)}) as server,
        connect(server) as client,
    ):
        assert {send(client, "POST", nebuly.V2, nebuly.trace()).status_code for _ in range(5)} == {503}
        assert send(client, "POST", "/v4/sessions").status_code == 201
        server.unscript("nebuly")
        assert send(client, "POST", nebuly.V2, nebuly.trace()).status_code == 200


@pytest.mark.parametrize("vendor", CONTRACTS)
def test_lost_response_leaves_its_effect_and_the_resend_is_a_repeat(
    server: VendorServer, client: httpx.Client, vendor: str
) -> None:
    method, path, body = TABLES[vendor].SETUP[0]
    server.script(vendor, [Answer(cut=True, apply=True), Answer(504, apply=True)])
    with pytest.raises(httpx.RemoteProtocolError):
        send(client, method, path, body)
    assert send(client, method, path, body).status_code == 504
    assert send(client, method, path, body).status_code == 200
    assert server.repeats(vendor) == (2, 0)
    assert [one.status for one in server.requests] == [0, 504, 200]


def test_cut_connection_without_apply_has_no_effect(server: VendorServer, client: httpx.Client) -> None:
    server.script("nebuly", [Answer(cut=True)])
    with pytest.raises(httpx.RemoteProtocolError):
        send(client, "POST", nebuly.V2, nebuly.trace())
    assert server.events("nebuly") == []


def test_delayed_answer_is_on_record_before_it_comes(server: VendorServer, client: httpx.Client) -> None:
    server.script("nebuly", [Answer(delay=30)])
    with pytest.raises(httpx.ReadTimeout):
        client.post(nebuly.V2, json=nebuly.trace(), timeout=0.05)
    assert len(server.events("nebuly")) == 1


def test_repeats_can_be_refused_altogether() -> None:
    options: dict[str, Any] = {"refuse_repeats": True, "braintrust_projects": [braintrust.PROJECT]}
    with (
        VendorServer(**options) as server,
        connect(server) as client,
    ):
        for vendor in ("honeyhive", "humanloop_v5", "humanloop_v4", "braintrust"):
            set_up(client, vendor)
            method, path, body = TABLES[vendor].SETUP[0]
            assert send(client, method, path, body).is_client_error
        assert {one.problem.rpartition(": ")[2] for one in server.refused if one.problem} == {"id already seen"}


def test_unknown_keys_pass_where_the_schema_is_open_and_it_is_asked_for() -> None:
    options: dict[str, Any] = {"open_rows": True, "braintrust_projects": [braintrust.PROJECT]}
    with (
        VendorServer(**options) as server,
        connect(server) as client,
    ):
        for vendor in ("honeyhive", "humanloop_v4", "braintrust"):
            set_up(client, vendor)
        send(client, "POST", "/events", {"event": honeyhive.event(extra=1)})
        send(client, "POST", "/v4/logs", humanloop_v4.log(extra=1))
        send(client, "POST", braintrust.INSERT, braintrust.rows(braintrust.row(extra=1)))
        assert not server.refused
        send(client, "POST", "/v1/events", honeyhive.v1(extra=1))
        assert [one.problem for one in server.refused] == ["extra: unknown key"]


def test_size_limit_can_be_set_for_any_vendor() -> None:
    with (
        VendorServer(max_bytes={"nebuly": 100}) as server,
        connect(server) as client,
    ):
        assert send(client, "POST", nebuly.V2, nebuly.trace()).status_code == 413
        assert server.refused[0].problem == "body is larger than 100 bytes"


def test_received_request_keeps_all_that_came(server: VendorServer, client: httpx.Client) -> None:
    client.patch("/v4/logs?reference_id=x", json={"output": "ho"}, headers={"X-API-KEY": "mine"})
    received = server.requests[0]
    assert (received.vendor, received.method, received.path) == ("humanloop_v4", "PATCH", "/v4/logs")
    assert received.query == {"reference_id": "x"}
    assert received.headers["x-api-key"] == "mine"
    assert received.body == {"output": "ho"}
    assert received.status == 404


def test_one_connection_serves_many_requests(server: VendorServer, client: httpx.Client) -> None:
    ports = set()
    for _ in range(5):
        with client.stream("POST", nebuly.V2, json=nebuly.trace()) as response:
            ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
            response.read()
    send(client, "POST", nebuly.V2, {"wrong": True})
    assert len(ports) == 1
    assert response.http_version == "HTTP/1.1"


def test_body_sent_in_chunks_is_read_whole(server: VendorServer, client: httpx.Client) -> None:
    chunks = iter([b'{"name":', b' "rag"}'])
    for _ in range(2):
        response = client.post("/v4/projects", content=chunks, headers={"Content-Type": "application/json"})
        chunks = iter([b'{"name": "two"}'])
        assert response.status_code == 201


def test_many_threads_at_once_lose_nothing(server: VendorServer) -> None:
    def work(worker: int) -> None:
        with connect(server) as client:
            for turn in range(20):
                send(client, "POST", nebuly.V2, nebuly.trace(nebuly.said(input=f"{worker}/{turn}")))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(server.event_ids("nebuly"))) == len(server.requests) == 160


def test_stopped_server_is_dead_to_pooled_connections_and_comes_back_with_its_memory(server: VendorServer) -> None:
    with connect(server) as client:
        assert send(client, "POST", nebuly.V2, nebuly.trace()).status_code == 200
        server.stop()
        with pytest.raises(httpx.TransportError):
            send(client, "POST", nebuly.V2, nebuly.trace())
        server.start()
        assert send(client, "POST", nebuly.V2, nebuly.trace()).status_code == 200
    assert server.repeats("nebuly") == (1, 0)


def test_clear_forgets_everything(server: VendorServer, client: httpx.Client) -> None:
    set_up(client, "humanloop_v5")
    server.script("humanloop_v5", [503])
    server.clear()
    assert server.requests == []
    assert server.events("humanloop_v5") == []
    assert send(client, "POST", "/v5/prompts/log", humanloop_v5.prompt()).status_code == 404


def test_half_a_request_is_no_request_and_no_noise(
    server: VendorServer, client: httpx.Client, capfd: pytest.CaptureFixture[str]
) -> None:
    address = (client.base_url.host, client.base_url.port or 0)
    with socket.create_connection(address, timeout=ENOUGH) as half:
        half.sendall(b"POST /api/v1/otel HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf of it")
        half.shutdown(socket.SHUT_WR)
        assert half.recv(1) == b""
    assert server.requests == []
    assert capfd.readouterr().err == ""


def test_unknown_vendor_and_unstarted_server_say_what_to_do() -> None:
    server = VendorServer()
    with pytest.raises(ConfigError, match="honeyhive, humanloop_v5, humanloop_v4, braintrust, nebuly"):
        server.script("langfuse", [503])
    with pytest.raises(ConfigError, match="call start"):
        _ = server.url
    server.stop()


def test_missing_werkzeug_names_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "eventtree.testing.listener", raising=False)
    monkeypatch.setitem(sys.modules, "werkzeug", None)
    with pytest.raises(ConfigError, match=r"pip install 'eventtree\[testing\]'"):
        VendorServer().start()


def test_rules_import_nothing_of_eventtree_but_themselves() -> None:
    for file in Path(contracts.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("eventtree"):
                assert str(node.module).startswith("eventtree.testing.contracts"), file.name
