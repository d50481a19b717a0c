"""OTLP: settings as OpenTelemetry specifies them, the protocol to the letter, and whose words each field is told in."""

from __future__ import annotations

import json
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Status

import eventtree
from eventtree import ConfigError, flush
from eventtree.cli.main import main
from eventtree.delivery.retry import Act, act_of
from eventtree.event import Event, EventTree
from eventtree.kinds import JsonValue, Kind
from eventtree.langchain import CallbackHandler
from eventtree.recording.pipeline import Pipeline
from eventtree.recording.recorder import recorder
from eventtree.serializer.packing import request as packed
from eventtree.serializer.requests import Request, Verdict
from eventtree.serializer.serialize import serialize
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import OTLP
from eventtree.vendors.otlp_tables import FLAVORS as TABLES
from eventtree.vendors.otlp_tables import groups_of
from tests.trees import new_id, record_model, record_tree
from tests.vendors.goldens import hold_against_golden
from tests.vendors.trees import ROOT, chain_root, chat_model, event, ident, rich_tree, tree_of, trees

pytestmark = pytest.mark.usefixtures("impatient")
FLAVORS = tuple(TABLES)
SECRET = "sesame-open-1234"


@pytest.fixture
def server() -> Iterator[VendorServer]:
    with VendorServer() as running:
        yield running


def spans(requests: Any) -> list[dict[str, Any]]:
    return [
        span for one in requests for group in one.body["resourceSpans"]
        for scope in group["scopeSpans"] for span in scope["spans"]
    ]  # fmt: skip


def told(span: dict[str, Any]) -> dict[str, Any]:
    return {one["key"]: next(iter(one["value"].values())) for one in span.get("attributes", ())}


def of(tree: EventTree, **settings: Any) -> list[dict[str, Any]]:
    return spans(serialize([tree], OTLP(**{"endpoint": "http://127.0.0.1:4318", **settings})))


# Settings

GENERAL, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
ADDRESSES: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({}, {}, "http://localhost:4318/v1/traces"),
    ({GENERAL: "https://c.test"}, {}, "https://c.test/v1/traces"),
    ({GENERAL: "https://c.test/otel/"}, {}, "https://c.test/otel/v1/traces"),
    ({GENERAL: "https://c.test/v1/traces"}, {}, "https://c.test/v1/traces/v1/traces"),
    ({GENERAL: "https://c.test", TRACES: "https://t.test/in?x=1"}, {}, "https://t.test/in?x=1"),
    ({TRACES: "https://t.test/v1/traces"}, {"endpoint": "https://a.test"}, "https://a.test/v1/traces"),
    ({}, {"endpoint": "https://a.test/v1/traces"}, "https://a.test/v1/traces"),
    ({}, {"endpoint": "https://cloud.langfuse.test/api/public/otel"}, "https://cloud.langfuse.test/api/public/otel/v1/traces"),
    ({}, {"traces_endpoint": "https://a.test/custom"}, "https://a.test/custom"),
    ({GENERAL: "https://c.test:8443?team=a"}, {}, "https://c.test:8443/v1/traces?team=a"),
    ({GENERAL: "https://c.test/otel/?to=/a/b&x=1#top"}, {}, "https://c.test/otel/v1/traces?to=/a/b&x=1"),
    ({GENERAL: " https://c.test \n", TRACES: " "}, {}, "https://c.test/v1/traces"),
    ({TRACES: "https://t.test"}, {}, "https://t.test"),
    ({TRACES: "https://t.test/v1/traces/"}, {}, "https://t.test/v1/traces/"),
    ({}, {"endpoint": "HTTP://127.0.0.1:4318/v1/traces?x=1"}, "http://127.0.0.1:4318/v1/traces?x=1"),
]  # fmt: skip


@pytest.mark.parametrize(("environment", "settings", "url"), ADDRESSES)
def test_the_address_is_found_as_opentelemetry_says(
    environment: dict[str, str], settings: dict[str, Any], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    made = OTLP(**settings)
    (request,) = serialize([tree_of(chain_root())], made)
    assert request.url == url
    assert pickle.loads(pickle.dumps(made)).traces_endpoint == url


def test_headers_and_resource_are_percent_decoded_and_those_of_traces_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "a=general")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "Authorization=Basic%20abc%3D%3D, x-project-name=my%2Crag")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=other,host.name=h%201")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    made = OTLP()
    assert made.auth() == {"authorization": "Basic abc==", "x-project-name": "my,rag"}
    (request,) = serialize([tree_of(chain_root())], made)
    resource = told(request.body["resourceSpans"][0]["resource"])
    assert (resource["service.name"], resource["host.name"]) == ("shop", "h 1")
    assert resource["deployment.environment.name"] == "staging"


def test_what_the_resource_says_stays_where_a_tree_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"deployment.environment.name": "prod, eu", "service.version": "1=2", "service.name": "shop"}
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", ",".join(f"{name}={quote(one)}" for name, one in known.items()))
    (request,) = serialize([tree_of(event(1, None))], OTLP())
    resource = told(request.body["resourceSpans"][0]["resource"])
    assert {name: resource[name] for name in known} == known
    (request,) = serialize([tree_of(chain_root(release="2.0"))], OTLP())
    resource = told(request.body["resourceSpans"][0]["resource"])
    assert (resource["deployment.environment.name"], resource["service.version"]) == ("staging", "2.0")


def test_values_of_a_set_are_known_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "NONE")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "HTTP/Protobuf")
    monkeypatch.setenv("EVENTTREE_OTLP_FLAVOR", "OpenInference")
    monkeypatch.setenv("EVENTTREE_OTLP_SCORES", "logs")
    made = OTLP()
    assert (made.compression, made.flavor, made.scores) == ("none", "openinference", "logs")


def test_a_query_goes_with_spans_and_logs_and_with_no_other_call() -> None:
    said = {"key": "k", "id": ROOT, "tree": ROOT, "at": 1_800_000_000 * 10**9, "score": 1.0}
    found = []
    for flavor in ("genai", "langfuse"):
        made = OTLP(endpoint="http://127.0.0.1:1/otel?team=a", flavor=flavor, scores="logs")
        found += [packed((item,), made).url for item in made.encode_feedback(said, None, {}).items]
    assert found == ["http://127.0.0.1:1/otel/v1/logs?team=a", "http://127.0.0.1:1/api/public/scores"]


FLAVOR_SIGNS: list[tuple[dict[str, Any], str]] = [
    ({"endpoint": "http://localhost:4318"}, "genai"),
    ({"endpoint": "http://127.0.0.1:6006"}, "openinference"),
    ({"endpoint": "https://app.phoenix.arize.com"}, "openinference"),
    ({"endpoint": "https://eu.cloud.langfuse.com/api/public/otel"}, "langfuse"),
    ({"endpoint": "https://api.smith.langchain.com/otel"}, "langsmith"),
    ({"endpoint": "http://127.0.0.1:5000", "headers": {"x-mlflow-experiment-id": "0"}}, "mlflow"),
    ({"endpoint": "http://127.0.0.1:6006", "flavor": "genai"}, "genai"),
]


@pytest.mark.parametrize(("settings", "flavor"), FLAVOR_SIGNS)
def test_the_flavor_is_told_by_address_and_headers(settings: dict[str, Any], flavor: str) -> None:
    assert OTLP(**settings).flavor == flavor


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"endpoint": "localhost:4318"}, "OTLP.endpoint: 'localhost:4318' is no URL"),
    ({"traces_endpoint": "http://c.test/{traces}/in"}, "OTLP.traces_endpoint: 'http://c.test/{traces}/in' is no URL"),
    ({"traces_endpoint": "localhost/v1/traces"}, "OTLP.traces_endpoint: 'localhost/v1/traces' is no URL"),
    ({"headers": 5}, "headers: it is no list of pairs"),
    ({"resource": ["a=b"]}, "resource: it is no list of pairs"),
    ({"compression": "deflate"}, "How requests are compressed"),
    ({"endpoint": "http://collector.test", "headers": {"authorization": "k"}}, "plain http would show the key"),
    ({"headers": "authorization"}, r"OTLP.headers: it is no list of pairs. Write name=value"),
    ({"headers": "a=b%0d%0aX: y"}, r"OTLP.headers: 'a' cannot be sent"),
    ({"headers": {"a b": "c"}}, "'a b' cannot be sent"),
    ({"headers": {"authorization": "Bearer x "}}, "'authorization' cannot be sent"),
    ({"headers": {"Content-Length": "5"}}, "'Content-Length' cannot be sent"),
    ({"flavor": "datadog"}, "OTLP.flavor"),
    ({"protocol": "grpc"}, "OTLP.protocol"),
    ({"endpont": "x"}, "OTLP.endpont"),
    ({"keep": 7}, r"OTLP.keep: it is no function"),
    ({"traces_endpoint": "http://127.0.0.1:1/intake", "scores": "logs"}, "OTLP.scores: where logs go is not told by"),
]


@pytest.mark.parametrize(("settings", "words"), WRONG)
def test_a_wrong_setting_is_named_at_construction(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        OTLP(**settings)


@pytest.mark.parametrize(
    ("endpoint", "words"), [("http://c:4317", "port 4318"), ("http://c/v1/traces/v1/traces", "leave /v1/traces out")]
)
def test_an_address_that_may_not_be_meant_is_said_by_doctor(endpoint: str, words: str) -> None:
    (hint,) = OTLP(endpoint=endpoint).advice()
    assert words in hint
    assert OTLP(endpoint="http://c:4318").advice() == ()


def test_without_a_key_plain_http_is_what_collectors_speak() -> None:
    assert OTLP(endpoint="http://collector:4318").auth() == {}
    assert OTLP(endpoint="http://collector:4318", headers={"x-project-name": "rag"}).secrets() == ()


def test_another_protocol_in_the_environment_is_an_error_unless_an_address_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    with pytest.raises(ConfigError, match=r"OTLP.protocol"):
        OTLP()
    assert OTLP(endpoint="http://127.0.0.1:4318").protocol == "http/protobuf"


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventtree.vendors.otlp.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'eventtree\[otlp\]'"):
        OTLP()


def test_headers_reach_neither_disk_nor_repr_nor_pickle_nor_words(own_place: Path, server: VendorServer) -> None:
    made = OTLP(endpoint=server.url, headers={"authorization": f"Bearer {SECRET}"})
    assert SECRET not in repr(made) + str(made.model_dump()) + str(pickle.dumps(made))
    assert made.fingerprint(b"s") != OTLP(endpoint=server.url, headers={"authorization": "x"}).fingerprint(b"s")
    server.script("otlp", [Answer(400, body=f"who is {SECRET}?")])
    record_tree(Pipeline(vendors=[made]), children=0)
    assert flush(10).vendors["otlp"].dead == 1
    assert SECRET not in "".join(path.read_text("utf-8", "replace") for path in own_place.iterdir())
    assert {one.headers["authorization"] for one in server.requests} == {f"Bearer {SECRET}"}


# Ids


def test_ids_are_the_trees_and_the_last_half_of_the_runs() -> None:
    found = of(rich_tree())
    assert {span["traceId"] for span in found} == {ROOT.replace("-", "")}
    assert [span["spanId"] for span in found] == [told(span)["eventtree.id"].replace("-", "")[16:] for span in found]
    parents = {told(span)["eventtree.id"]: span.get("parentSpanId") for span in found}
    assert parents[ROOT] is None
    assert parents[ident(10)] == ident(5).replace("-", "")[16:], "its own parent is plumbing"


@pytest.mark.parametrize("odd", ["no uuid", "00000000-0000-0000-0000-000000000000"])
def test_an_id_that_is_none_becomes_one(odd: str) -> None:
    (span,) = of(tree_of(chain_root(id=odd, tree_id=odd)))
    assert len(bytes.fromhex(span["traceId"])) == 16 and span["traceId"].strip("0")
    assert len(bytes.fromhex(span["spanId"])) == 8 and span["spanId"].strip("0")


SPAN = trace.SpanContext(0xABC0 << 96, 0xDEF, is_remote=False, trace_flags=trace.TraceFlags(1))


def test_under_the_apps_span_a_tree_belongs_to_its_trace(server: VendorServer) -> None:
    pipeline = Pipeline(vendors=[OTLP(endpoint=server.url)])
    with trace.use_span(trace.NonRecordingSpan(SPAN)):
        tree = record_tree(pipeline)
    assert flush(10).settled and not server.refused
    found = {told(span)["eventtree.id"]: span for span in server.events("otlp")}
    assert {span["traceId"] for span in found.values()} == {f"{SPAN.trace_id:032x}"}
    assert found[tree]["parentSpanId"] == f"{SPAN.span_id:016x}"


def test_an_unsampled_span_and_a_paused_tree_are_linked() -> None:
    around = f"00-{SPAN.trace_id:032x}-{SPAN.span_id:016x}-00"
    root, child = of(tree_of(chain_root(traceparent=around, metadata={"resumes": ident(77)}), event(2)))
    assert root["traceId"] == ROOT.replace("-", "") and "parentSpanId" not in root
    paused = ident(77).replace("-", "")
    links = [(one["traceId"], one["spanId"]) for one in root["links"]]
    assert links == [(f"{SPAN.trace_id:032x}", f"{SPAN.span_id:016x}"), (paused, paused[16:])]
    assert "links" not in child


@pytest.mark.parametrize("odd", ["", "00-zz", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "00-" + "0" * 32 + "-1-01"])
def test_a_traceparent_that_is_none_changes_nothing(odd: str) -> None:
    (span,) = of(tree_of(chain_root(traceparent=odd)))
    assert span["traceId"] == ROOT.replace("-", "") and "parentSpanId" not in span and "links" not in span


# Answers


@pytest.mark.parametrize("status", range(300, 600))
def test_only_what_the_protocol_lets_one_retry_is_tried_again(status: int) -> None:
    repeated = {Act.RETRY: (429, 500, 502, 503, 504), Act.SPLIT: (413,), Act.BISECT: (400, 422)}
    expected = next((act for act, statuses in repeated.items() if status in statuses), Act.PARK)
    assert act_of(status, OTLP.status_actions, idempotent=True) is expected


@pytest.mark.parametrize("status", [429, 502, 503, 504, 500])
def test_a_passing_fault_is_outlived(server: VendorServer, status: int) -> None:
    server.script("otlp", [Answer(status, headers={"Retry-After": "0"})] * 2)
    record_tree(Pipeline(vendors=[OTLP(endpoint=server.url)]))
    assert flush(10).vendors["otlp"].delivered == 3
    assert len(server.requests) == 3


def answer(rejected: int, words: str) -> Answer:
    reply = ExportTraceServiceResponse()
    reply.partial_success.rejected_spans, reply.partial_success.error_message = rejected, words
    return Answer(200, body=reply.SerializeToString(), apply=True)


JSON_ANSWER = Answer(200, body={"partialSuccess": {"rejectedSpans": "2", "errorMessage": "too old"}}, apply=True)


SPACED = Answer(200, body=b'\n {"partial_success": {"rejected_spans": 2, "error_message": "too old"}}', apply=True)


@pytest.mark.parametrize("said", [answer(2, "too old"), JSON_ANSWER, SPACED])
def test_a_partial_success_is_counted_and_never_repeated(
    server: VendorServer, said: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    server.script("otlp", [said])
    record_tree(Pipeline(vendors=[OTLP(endpoint=server.url)]))
    sums = flush(10).vendors["otlp"]
    assert (sums.accepted, sums.delivered, sums.dropped, sums.unexplained) == (3, 1, {"rejected": 2}, 0)
    assert len(server.requests) == 1
    assert "too old" in caplog.text


def test_an_error_as_the_protocol_has_it_is_read(server: VendorServer, own_place: Path) -> None:
    """`google.rpc.Status`: a code, a message."""
    error = b"\x08\x03" + Status(message="span 1: naïve name").SerializeToString()
    server.script("otlp", [Answer(400, body=error, headers={"Content-Type": "application/x-protobuf"})])
    record_tree(Pipeline(vendors=[OTLP(endpoint=server.url)]), children=0)
    assert flush(10).vendors["otlp"].dead == 1
    shown = CliRunner().invoke(main, ["dead", "--journal", str(own_place), "--vendor", "otlp", "--json"])
    assert json.loads(shown.output)["words"] == "span 1: naïve name"


@pytest.mark.parametrize("words", [b"too old", b"quota exceeded, ask for more", b'{"message": "no"}', b"\xff\x00", b""])
def test_an_error_of_another_kind_is_told_as_it_is(words: bytes) -> None:
    assert OTLP(endpoint="http://127.0.0.1:1").words_in(words) == words


@pytest.mark.parametrize("status", [404, 405, 307])
def test_an_address_where_nothing_is_taken_is_named(server: VendorServer, status: int) -> None:
    server.script("otlp", [Answer(status, body="nothing here")] * 9)
    record_tree(Pipeline(vendors=[OTLP(endpoint=f"{server.url}/otel?key={SECRET}")]), children=0)
    parked = flush(5).vendors["otlp"].parked
    assert parked == f"HTTP {status} from {server.url}/otel/v1/traces: nothing here"


def test_a_request_of_which_nothing_was_taken_is_dead_letters_with_its_words(
    server: VendorServer, own_place: Path
) -> None:
    server.script("otlp", [answer(3, "quota")])
    record_tree(Pipeline(vendors=[OTLP(endpoint=server.url)]))
    assert flush(10).vendors["otlp"].dead == 3
    shown = CliRunner().invoke(main, ["dead", "--journal", str(own_place), "--vendor", "otlp", "--json"])
    letters = [json.loads(line) for line in shown.output.splitlines()]
    assert {letter["words"] for letter in letters} == {"quota"}
    assert letters[0]["content"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"]


def test_dead_letters_go_out_again_as_the_same_spans(
    server: VendorServer, own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = OTLP(endpoint=server.url)
    server.script("otlp", [400] * 9)
    pipeline = Pipeline(vendors=[made])
    record_model(pipeline, new_id(), None, "gpt-4o")
    assert flush(10).vendors["otlp"].dead == 1
    pipeline.shipper.stop()
    server.clear()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", server.url)
    done = CliRunner().invoke(main, ["dead", "--journal", str(own_place), "--resend"])
    assert "1 of 1 taken" in done.output, done.output
    assert not server.refused and len(server.events("otlp")) == 1


def test_a_warning_is_no_loss_and_an_unreadable_answer_is_told(
    server: VendorServer, caplog: pytest.LogCaptureFixture
) -> None:
    server.script("otlp", [answer(0, "slow down"), Answer(200, body="<html>", apply=True)])
    pipeline = Pipeline(vendors=[OTLP(endpoint=server.url)])
    for _ in range(2):
        record_tree(pipeline)
        assert flush(10).settled
    assert "warns: slow down" in caplog.text
    assert "body that cannot be read" in caplog.text


def test_what_is_too_large_is_halved_then_shortened_until_all_arrives(own_place: Path) -> None:
    """413 at 64 KB; messages are JSON of the schema still."""
    with VendorServer(max_bytes={"otlp": 64_000}) as small:
        pipeline = Pipeline(vendors=[OTLP(endpoint=small.url)])
        for number in range(30):
            run = new_id()
            text = [{"role": "user", "content": "x" * (200_000 if number == 7 else 20_000)}]
            recorder.open(
                pipeline,
                run,
                None,
                kind=Kind.MODEL,
                name="m",
                inputs={"messages": text},
                known={"model": "m", "provider": "p"},
            )
            recorder.close(pipeline, run, outputs={"messages": [{"role": "assistant", "content": "y"}]})
        sums = flush(20).vendors["otlp"]
        assert (sums.delivered, sums.dead) == (30, 0)
        assert {one.status for one in small.refused} <= {413}
        for span in small.events("otlp"):
            assert json.loads(told(span)["gen_ai.input.messages"])[0]["parts"][0]["type"] == "text"


def test_it_goes_over_the_wire_as_compressed_protobuf(server: VendorServer) -> None:
    record_tree(Pipeline(vendors=[OTLP(endpoint=server.url)]))
    record_tree(Pipeline(vendors=[OTLP(endpoint=server.url, name="plain", compression="none")]))
    assert flush(10).settled and not server.refused
    found = [(one.headers["content-type"], one.headers.get("content-encoding")) for one in server.requests]
    assert sorted(found, key=str) == [("application/x-protobuf", "gzip"), ("application/x-protobuf", None)]


def test_bytes_that_are_no_message_are_refused(server: VendorServer) -> None:
    given = {"content-type": "application/x-protobuf"}
    for content, more in ((b"\x0a\xff", {}), (b"no gzip", {"content-encoding": "gzip"})):
        assert httpx.post(f"{server.url}/v1/traces", content=content, headers={**given, **more}).status_code == 400
    assert [one.problem for one in server.refused] == ["body is no ExportTraceServiceRequest", "body is not gzip"]


def test_a_key_that_the_server_wants_is_asked_for() -> None:
    with VendorServer(key="right") as server:
        record_tree(Pipeline(vendors=[OTLP(endpoint=server.url, api_key="wrong")]))
        assert "401" in (flush(2).vendors["otlp"].parked or "")


# Feedback


@pytest.mark.parametrize(
    ("flavor", "scores", "fate", "count"),
    [("openinference", "", "delivered", 3), ("mlflow", "", "delivered", 3), ("langfuse", "", "delivered", 3),
     ("genai", "", "no_place", 0), ("langsmith", "", "no_place", 0), ("genai", "logs", "delivered", 3)],
)  # fmt: skip
def test_late_feedback_reaches_whoever_has_a_call_for_it(
    server: VendorServer, flavor: str, scores: Any, fate: str, count: int
) -> None:
    tree = record_tree(Pipeline(vendors=[OTLP(endpoint=server.url, flavor=flavor, scores=scores)]))
    assert flush(10).settled
    assert eventtree.feedback(tree, score={"fit": 0.5, "tone": True}, comment="so so", correction="42", user="eve")
    assert flush(10).vendors["otlp"].feedback == {fate: 1}
    assert not server.refused
    assert len(server.feedback("otlp")) == count


@pytest.mark.parametrize("flavor", ["genai", "langsmith"])
def test_feedback_that_no_call_takes_goes_out_with_its_tree(server: VendorServer, flavor: str) -> None:
    """Also where the spans are sent a second time; a tree that was not taken has told nothing."""
    server.script("otlp", [Answer(503)])
    handler = CallbackHandler(vendors=[OTLP(endpoint=server.url, flavor=flavor)])
    with eventtree.span("root", handler=handler), eventtree.span("part") as part:
        part.score("fit", 0.5, "so so")
        assert eventtree.feedback(part.id or "", score={"tone": True}, user="eve")
    assert flush(20).vendors["otlp"].feedback == {"delivered": 2}
    happened = {span["name"]: span.get("events", []) for span in spans(server.requests)}
    said = [told(one) for one in happened["part"] if one["name"] == "gen_ai.evaluation.result"]
    assert [(one["gen_ai.evaluation.name"], one["gen_ai.evaluation.score.value"]) for one in said] == [
        ("fit", 0.5), ("tone", 1.0)
    ]  # fmt: skip
    server.script("otlp", [Answer(400)] * 9)
    with eventtree.span("refused", handler=handler) as refused:
        refused.score("fit", 1)
    report = flush(20).vendors["otlp"]
    assert (report.dead, report.feedback) == (1, {"delivered": 2, "no_place": 1})


def test_mlflow_takes_an_assessment_that_comes_again_as_taken() -> None:
    """It refuses an id that is there with a 500, in these words (3.17)."""
    vendor = OTLP(endpoint="http://127.0.0.1:1", flavor="mlflow")
    said = {"key": "k", "id": ROOT, "tree": ROOT, "at": 1_800_000_000 * 10**9, "score": 1.0}
    once, again = (vendor.encode_feedback(said, None, {}).items for _ in range(2))
    assert once == again
    request = Request("POST", "http://127.0.0.1:1", once[0].content, once)
    refusal = (
        b'{"error_code": "INTERNAL_ERROR", "message": "Failed to create assessment due to a constraint violation."}'
    )
    assert vendor.read_reply(request, 500, refusal) == Verdict()
    assert vendor.read_reply(request, 500, b'{"error_code": "INTERNAL_ERROR"}') is None


@pytest.mark.parametrize(("flavor", "is_told"), [("mlflow", True), ("genai", False)])
def test_what_ends_late_goes_where_it_replaces_what_was_there(server: VendorServer, flavor: str, is_told: bool) -> None:
    pipeline = Pipeline(vendors=[OTLP(endpoint=server.url, flavor=flavor)])
    root, slow, later = new_id(), new_id(), new_id()
    recorder.open(pipeline, root, None, kind=Kind.CHAIN, name="root")
    recorder.open(pipeline, slow, root, kind=Kind.TOOL, name="slow", inputs={"a": 1})
    recorder.close(pipeline, root, outputs={"b": 2})
    assert flush(10).vendors["otlp"].accepted == 2
    recorder.open(pipeline, later, slow, kind=Kind.TOOL, name="later")
    recorder.close(pipeline, later)
    recorder.close(pipeline, slow, outputs="the late answer")
    sums = flush(10).vendors["otlp"]
    assert (sums.unexplained, sums.dropped.get("late", 0)) == (0, 0 if is_told else 1)
    assert not server.refused
    sent = [(span["name"], "the late answer" in str(span)) for span in server.events("otlp")]
    late = [("execute_tool slow", True), ("execute_tool later", False)]
    assert sorted(sent[2:]) == (sorted(late) if is_told else [])
    assert len({span["traceId"] for span in server.events("otlp")}) == 1


# Whose words: every field, in every flavor

ELSEWHERE = {
    "id": "span_id, and eventtree.id", "parent_id": "parent_span_id", "tree_id": "trace_id", "start": "span",
    "duration": "span's end", "notes": "span events", "internal": "left out", "traceparent": "the root's parent",
    "environment": "resource", "release": "resource", "service": "resource",
}  # fmt: skip
"""Field of an event → where it goes, if not into attributes."""


@pytest.mark.parametrize("flavor", FLAVORS)
def test_every_field_of_an_event_goes_somewhere(flavor: str) -> None:
    placed = {row.field for row in TABLES[flavor]}
    assert placed | ELSEWHERE.keys() >= set(Event.model_fields)
    sent = str(of(rich_tree(), flavor=flavor))
    for mark in ("talk-7", "ada", "prod", "gold", "claude-sonnet-4-5", "anthropic", "tool_use", "0.34567", "0.00261",
                 "ValueError", "interrupted", "Shall I?", "Why tides?", "The moon pulls.", "langchain", "Be brief.",
                 "exact", "17.5", "row-3", "temperature", "numbers", "incomplete"):  # fmt: skip
        assert mark in sent, (flavor, mark)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_a_rich_tree_is_golden(flavor: str) -> None:
    hold_against_golden(f"otlp/{flavor}.json", OTLP(endpoint="http://127.0.0.1:4318", flavor=flavor), rich_tree())


@pytest.mark.parametrize("flavor", FLAVORS)
def test_content_stands_once_on_a_span(flavor: str) -> None:
    marks = {"in": "the-only-question", "out": "the-only-answer"}
    messages = {
        "inputs": {"messages": [{"role": "user", "content": marks["in"]}]},
        "outputs": {"messages": [{"role": "assistant", "content": marks["out"]}]},
    }
    documents = {"inputs": {"query": marks["in"]}, "outputs": {"documents": [{"id": "d", "text": marks["out"]}]}}
    whole = {"inputs": {"question": marks["in"]}, "outputs": {"answer": marks["out"]}}
    given = {Kind.MODEL: messages, Kind.AGENT: messages, Kind.RETRIEVER: documents, Kind.TOOL: whole, Kind.CHAIN: whole}
    for kind, contents in given.items():
        (span,) = of(tree_of(event(1, None, kind=kind, **contents)), flavor=flavor)
        for mark in marks.values():
            assert str(span).count(mark) == 1, (kind, mark)


UNUSUAL: list[tuple[Kind, dict[str, Any]]] = [
    (Kind.RETRIEVER, {"query": "query-mark", "filter": "in-mark"}),
    (Kind.RERANKER, {"query": "query-mark", "documents": [{"text": "doc-mark"}], "top": "in-mark"}),
    (Kind.RERANKER, {"question": "in-mark"}),
    (Kind.RERANKER, ["in-mark"]),
    (Kind.EMBEDDING, {"texts": ["text-mark"], "task": "in-mark"}),
    (Kind.AGENT, {"messages": [{"role": "user", "content": "word-mark"}], "plan": "in-mark"}),
]


@pytest.mark.parametrize("flavor", FLAVORS)
@pytest.mark.parametrize(("kind", "inputs"), UNUSUAL)
def test_what_has_no_place_beside_content_is_told_with_all_of_it(flavor: str, kind: Kind, inputs: JsonValue) -> None:
    outputs = {"documents": [{"text": "found-mark"}], "took": "out-mark"}
    (span,) = of(tree_of(event(1, None, kind=kind, inputs=inputs, outputs=outputs)), flavor=flavor)
    said = str(told(span))
    marks = {*re.findall(r"\w+-mark", str(inputs)), "found-mark", "out-mark"}
    assert {mark: said.count(mark) for mark in marks} == dict.fromkeys(marks, 1)


@pytest.mark.parametrize("flavor", FLAVORS)
def test_an_app_may_say_nothing(flavor: str) -> None:
    assert of(tree_of(event(1, None, name="", kind=Kind.MODEL)), flavor=flavor)[0]["name"]


def test_money_and_tokens_stand_where_each_backend_looks() -> None:
    tree = tree_of(chat_model(1, None))
    genai, langfuse, langsmith, mlflow = (
        told(of(tree, flavor=flavor)[0]) for flavor in ("genai", "langfuse", "langsmith", "mlflow")
    )
    assert (genai["gen_ai.usage.cost"], genai["gen_ai.usage.cost.source"]) == (0.00261, "local")
    assert genai["gen_ai.usage.cache_write.input_tokens"] == genai["gen_ai.usage.cache_creation.input_tokens"] == "50"
    parts = json.loads(langfuse["langfuse.observation.usage_details"])
    assert parts.pop("total") == sum(parts.values()) == 1020
    assert json.loads(langsmith["langsmith.usage_metadata"])["total_cost"] == 0.00261
    assert json.loads(mlflow["mlflow.llm.cost"])["total_cost"] == 0.00261


def test_langfuse_is_told_the_prompt_the_first_token_and_the_experiment() -> None:
    ties = {
        "run_id": "run-9", "experiment": "nightly",
        "dataset_id": "set-1", "datapoint_id": "row-3", "expected": {"a": 1},
    }  # fmt: skip
    metadata = {f"eventtree_{key}": one for key, one in ties.items()}
    asked = chat_model(2, prompt={"name": "greet", "version": "3"}, time_to_first_token=0.25)
    root, model = map(told, of(tree_of(chain_root(metadata=metadata), asked), flavor="langfuse"))
    experiment = {key.removeprefix("langfuse.experiment."): one for key, one in root.items() if ".experiment." in key}
    assert experiment == {
        "id": "run-9", "name": "nightly", "dataset.id": "set-1", "item.id": "row-3", "item.expected_output": '{"a":1}',
        "item.root_observation_id": ROOT.replace("-", "")[16:],
    }  # fmt: skip
    assert (model["langfuse.observation.prompt.name"], model["langfuse.observation.prompt.version"]) == ("greet", "3")
    phoenix = told(of(tree_of(chain_root(), asked), flavor="openinference")[1])
    assert (phoenix["prompt.id"], phoenix["llm.prompt_template.version"]) == ("greet", "3")
    assert json.loads(model["langfuse.observation.completion_start_time"]) == "2026-03-04T05:06:08.240123Z"
    assert not any(key.startswith("langfuse.experiment") for key in model)


@pytest.mark.parametrize("version", ["9" * 10, "9" * 5_000, "v3", "", "٣"])
def test_a_version_that_is_no_number_of_langfuses_costs_no_tree(version: str) -> None:
    asked = chat_model(2, prompt={"name": "greet", "version": version})
    model = told(of(tree_of(chain_root(), asked), flavor="langfuse")[1])
    assert model["langfuse.observation.prompt.name"] == "greet"
    assert "langfuse.observation.prompt.version" not in model


def test_export_prints_the_json_form(own_place: Path) -> None:
    tree = record_tree(Pipeline())
    done = CliRunner().invoke(main, ["export", "--journal", str(own_place), "--vendor", "otlp"])
    request = json.loads(done.output)
    span = request["body"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert span["traceId"] == tree.replace("-", "")
    assert isinstance(span["startTimeUnixNano"], str) and isinstance(span["kind"], int)
    assert request["headers"]["Content-Type"] == "application/x-protobuf"


@pytest.mark.parametrize("flavor", FLAVORS)
@settings(max_examples=40, deadline=None)
@given(one=trees(), other=trees())
def test_what_was_encoded_before_changes_nothing(flavor: str, one: EventTree, other: EventTree) -> None:
    """What runs have alike is remembered by all that its rows look at."""
    vendor = OTLP(endpoint="http://127.0.0.1:1", flavor=flavor)
    apart = ("inputs", "outputs", "metadata", "usage", "cost", "status", "error", "duration", "notes")
    mixed = tuple(
        event.model_copy(update={name: getattr(unlike, name) for name in apart})
        for event, unlike in zip(one.events, [*other.events] * 5, strict=False)
    )
    found = [one, other, one.model_copy(update={"events": mixed}), one]
    groups_of.cache_clear()
    warm = [vendor.encode(tree) for tree in found]
    for tree, encoded in zip(found, warm, strict=True):
        groups_of.cache_clear()
        assert vendor.encode(tree) == encoded


def test_the_same_tree_is_the_same_bytes() -> None:
    first, second = (
        [one.content for one in serialize([rich_tree()], OTLP(endpoint="http://127.0.0.1:1"))] for _ in "12"
    )
    assert first == second
