"""OTLP: trees as spans, to any backend that takes OpenTelemetry's protocol over HTTP (contracts/otlp.md).

A flavor says in whose words: `genai` (OpenTelemetry's GenAI conventions), `openinference` (Phoenix), or `genai` with
what Langfuse, LangSmith or MLflow read beside it. Attributes stand in tables, one file for each of the two dialects.

=====================  =================================================================================================
ours                   OTLP
=====================  =================================================================================================
tree                   `trace_id`: the tree's UUID; where the app had a span of its own open, that span's trace
id, parent             `span_id`: the last 8 bytes of the run's UUID; `parent_span_id`; the whole id in `eventtree.id`
kind, name             `name`, `kind` (a model is a client's call), and the dialect's attributes
start, duration        `start_time_unix_nano`, `end_time_unix_nano`; without an end, the last known of it
status, error          status ERROR, `error.type`, the event `exception`; others in `eventtree.status`
notes                  events
feedback, scores       events `gen_ai.evaluation.result`; late: the backend's own call, `/v1/logs`, or `no_place`
environment            resource `deployment.environment.name`; release and service: `service.version`, `service.name`
traceparent, resumes   the root's parent and trace; a link where that trace is not sampled, and to a tree it resumes
all else               the tables of `otlp_genai.py` and `otlp_openinference.py`
=====================  =================================================================================================

No place, and not sent: `usage.raw`, events that are framework plumbing (dropped as `internal`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, ClassVar, Literal, cast
from urllib.parse import unquote, urlsplit

from pydantic import field_validator, model_validator

from eventtree.errors import ConfigError
from eventtree.event import Event, EventTree, JsonValue, Kind, Status
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import as_text
from eventtree.serializer.requests import Encoded, Item, Request, Route, Verdict
from eventtree.serializer.times import end_of, from_ns, later, seconds
from eventtree.serializer.vendor import ABOUT_ONE, Feedback, Key, Vendor, in_clear, json_in, own_version, without_nulls
from eventtree.serializer.view import TreeView
from eventtree.vendors import otlp_genai as genai
from eventtree.vendors import otlp_wire as wire
from eventtree.vendors.otlp_openinference import OPENINFERENCE

Flavor = Literal["genai", "openinference", "langfuse", "langsmith", "mlflow"]
TABLES: Mapping[str, Mapping[Kind, genai.Table]] = {
    "genai": genai.by_kind(genai.ABOUT, genai.GENAI),
    "openinference": genai.by_kind(genai.ABOUT, OPENINFERENCE),
    "langfuse": genai.by_kind(genai.ABOUT, genai.GENAI, genai.LANGFUSE),
    "langsmith": genai.by_kind(genai.ABOUT, genai.GENAI, genai.LANGSMITH),
    "mlflow": genai.by_kind(genai.ABOUT, genai.GENAI, genai.MLFLOW),
}
"""Flavor → kind → its attributes."""
SIGNS: tuple[tuple[str, Flavor], ...] = (
    (r"langfuse|/api/public/otel", "langfuse"),
    (r"smith\.langchain|langsmith", "langsmith"),
    (r"phoenix|arize|:6006\b|x-project-name", "openinference"),
    (r"mlflow", "mlflow"),
)
"""What is found in the address, or in the name of a header → the flavor, where none is set."""
PUBLIC = frozenset({
    *("x-project-name", "x-mlflow-experiment-id", "x-langfuse-ingestion-version", "langsmith-project", "x-bt-parent"),
    *("projectname", "comet-workspace", "x-honeycomb-dataset", "x-scope-orgid", "stream-name"),
})  # fmt: skip
"""Headers that name a place and are no key."""
TRACES, LOGS = "/v1/traces", "/v1/logs"
PREFIXES = ("/api/public/otel/v1/traces", "/otel/v1/traces", TRACES)
"""What an address of traces may end with: before it stands what the backend's other calls begin with."""
CLIENT, INTERNAL, FAILED, SAMPLED = 3, 1, 2, 1
TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
SPANS = wire.request_format("collector.trace.v1.trace_service", "ExportTraceServiceRequest")
RECORDS = wire.request_format("collector.logs.v1.logs_service", "ExportLogsServiceRequest")
PARK = dict.fromkeys((408, 425, 499, *range(505, 600)), "park")


class OTLP(Vendor):
    """Send trees to any OTLP backend: `OTLP(endpoint="http://localhost:4318")`, or as OpenTelemetry's variables say."""

    kind: ClassVar[str] = "otlp"
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "api_key": ("EVENTTREE_OTLP_API_KEY",),
        "base_url": ("OTEL_EXPORTER_OTLP_ENDPOINT",),
        "traces_endpoint": ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",),
        "headers": ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"),
        "protocol": ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"),
        "compression": ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "OTEL_EXPORTER_OTLP_COMPRESSION"),
        "service": ("OTEL_SERVICE_NAME",),
        "resource": ("OTEL_RESOURCE_ATTRIBUTES",),
        "flavor": ("EVENTTREE_OTLP_FLAVOR",),
    }
    default_url: ClassVar[str] = "http://localhost:4318"
    needs_key: ClassVar[bool] = False
    accepts_parts: ClassVar[bool] = True
    secret_settings: ClassVar[frozenset[str]] = frozenset({"api_key", "headers"})
    routes: ClassVar[Mapping[str, Route]] = {
        "spans": Route("POST", "{traces}", max_items=512, format=SPANS),
        "logs": Route("POST", "{logs}", max_items=100, format=RECORDS, status_actions=ABOUT_ONE),
        "openinference": Route(
            "POST", "/v1/span_annotations", (b'{"data":[', b"]}"), max_items=100, status_actions=ABOUT_ONE
        ),
        "mlflow": Route("POST", "/api/3.0/mlflow/traces/{trace}/assessments", status_actions=ABOUT_ONE),
        "langfuse": Route("POST", "/api/public/scores", status_actions=ABOUT_ONE),
    }
    max_bytes: ClassVar[int] = 4_000_000
    """Before compression: a fifth of what the protocol lets a receiver refuse."""
    status_actions: ClassVar[Mapping[int, str]] = PARK
    """Only 429, 502, 503, 504 are tried again, as the protocol has it, and 500, which overloaded backends send: nothing
    is lost by waiting. What else is no verdict on a span waits for other settings.
    """

    endpoint: str = ""
    """The backend's address, to which `/v1/traces` is added unless it ends so."""
    traces_endpoint: str = ""
    """The address that takes spans, used as it is. It wins over `endpoint`."""
    headers: Mapping[str, Key] = {}
    """Headers of each request, as keys travel in them. In the environment `name=value,…`, percent-encoded."""
    flavor: Flavor = "genai"
    """The words of the attributes; by default told by address and headers."""
    scores: Literal["", "logs"] = ""
    """`logs` sends late feedback as log records (`gen_ai.evaluation.result`) where the flavor has no own call."""
    service: str = ""
    """The resource's `service.name`. It wins over the one among `resource`."""
    resource: Mapping[str, str] = {}
    """Attributes of the resource. In the environment `name=value,…`, percent-encoded."""
    protocol: Literal["http/protobuf"] = "http/protobuf"
    """The one there is: another one in the environment is an error, unless an address is given."""
    compression: Literal["gzip", "none"] = "gzip"
    """How requests are compressed."""

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: Any) -> Any:
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
            raise wire.MISSING
        given = {name: value for name, value in dict(given).items() if value is not None}
        is_addressed = any(given.get(name) for name in ("endpoint", "base_url", "traces_endpoint"))
        if is_addressed:
            # What is given in code goes before what the app's own exporter uses.
            given = {"traces_endpoint": "", "protocol": "http/protobuf", **given}
            given["base_url"] = given.pop("endpoint", "") or given.get("base_url", "")
        values = super()._from_environment(given)  # type: ignore[operator]
        endpoint = values["endpoint"] = values["base_url"]
        whole = is_addressed and endpoint.endswith(TRACES)
        traces = str(values.get("traces_endpoint") or "") or (endpoint if whole else endpoint + TRACES)
        suffix = next((end for end in PREFIXES if traces.endswith(end)), None)
        parts = urlsplit(traces)
        values["base_url"] = traces.removesuffix(suffix) if suffix else f"{parts.scheme}://{parts.netloc}"
        values["traces_endpoint"] = traces
        if not values.get("flavor"):
            signs = " ".join((traces, *pairs_of(values.get("headers") or {}, "headers"))).lower()
            values["flavor"] = next((flavor for sign, flavor in SIGNS if re.search(sign, signs)), "genai")
        return values

    @field_validator("headers", "resource", mode="before")
    @classmethod
    def _pairs(cls, given: Any, info: Any) -> Any:
        return pairs_of(given, info.field_name)

    def compresses(self, route: str) -> bool:
        """As the setting says, what the protocol is for: the backends' own calls for feedback take no gzip."""
        return self.compression == "gzip" and route in ("spans", "logs")

    def auth(self) -> dict[str, str]:
        """The headers, and an `api_key` in the one where the backend looks for it."""
        sent = {name.lower(): in_clear(value) for name, value in self.headers.items()}
        key = self.key
        if key and self.flavor == "langsmith":
            return {"x-api-key": key, **sent}
        return {"authorization": f"Bearer {key}", **sent} if key else sent

    def secrets(self) -> tuple[str, ...]:
        """The key, and the values of headers that do not just name a place."""
        values = [value for name, value in self.auth().items() if name not in PUBLIC]
        return tuple(value.rpartition(" ")[2] for value in values if value)

    def identity(self) -> tuple[str, ...]:
        """The address, and the headers that name a place there."""
        places = (f"{name}={value}" for name, value in self.auth().items() if name in PUBLIC)
        return (self.kind, self.traces_endpoint, *sorted(places))

    # -- trees --------------------------------------------------------------------------------------------------------

    def encode(self, tree: EventTree) -> Encoded:
        """A span for each event. An item is a whole request of one span, so that items joined are one too."""
        view = TreeView.of(tree)
        made = self._spans(view, view.events)
        items = (
            Item(event.id, tree.id, (event.id,), "spans", content, path_params=self._place("traces"))
            for event, content in made
        )
        return Encoded(tuple(items), view.dropped(tree))

    @property
    def accepts_updates(self) -> bool:  # type: ignore[override]
        """MLflow replaces a span by what is sent again under its id; others keep the first, or show both."""
        return self.flavor == "mlflow"

    def encode_update(self, tree: EventTree, ended: Collection[str]) -> tuple[Item, ...]:
        """The same spans again, with their ends."""
        view = TreeView.of(tree)
        made = self._spans(view, [event for event in view.events if event.id in ended])
        return tuple(
            Item(f"{event.id}:late", tree.id, (), "spans", content, path_params=self._place("traces"))
            for event, content in made
        )

    def _spans(self, view: TreeView, events: Iterable[Event]) -> Iterator[tuple[Event, bytes]]:
        trace, (before, scope) = Trace(view), self._around(view)
        for event in events:
            span = self.span(event, view, trace).SerializeToString()
            yield event, wire.framed(1, before + wire.framed(2, scope + wire.framed(2, span)))

    def _place(self, name: str) -> tuple[tuple[str, str], ...]:
        path = self.traces_endpoint.removeprefix(self.base_url)
        return ((name, path if name == "traces" else re.sub(f"{TRACES}$", LOGS, path)),)

    def _around(self, view: TreeView) -> tuple[bytes, bytes]:
        """The resource and the scope, as fields of what is around spans."""
        common = wire.proto("common.v1.common")
        sdk = {"name": "eventtree", "language": "python", "version": own_version()}
        found = {
            "service.name": self.service or view.root.service or self.resource.get("service.name") or "unknown_service",
            **({"service.version": view.root.release} if view.root.release else {}),
            **{f"telemetry.sdk.{name}": value for name, value in sdk.items()},
            "deployment.environment.name": view.root.environment,
        }
        resource = wire.proto("resource.v1.resource").Resource(
            attributes=wire.attributes({**{k: v for k, v in self.resource.items() if k != "service.name"}, **found})
        )
        scope = common.InstrumentationScope(name="eventtree", version=own_version() or "")
        return wire.framed(1, resource.SerializeToString()), wire.framed(1, scope.SerializeToString())

    def span(self, event: Event, view: TreeView, trace: Trace) -> Any:
        """The span of an event."""
        told = genai.Told(event, view)
        parent = view.parent_id(event)
        failed = views.failure(event)
        start, is_root = wire.nanoseconds(event.start), parent is None
        subject = {Kind.MODEL: told.asked_model, Kind.EMBEDDING: told.asked_model, Kind.RETRIEVER: ""}
        plain = self.flavor == "openinference" or told.operation is None
        words = event.name if plain else f"{told.operation} {subject.get(event.kind, event.name) or ''}".strip()
        return wire.proto("trace.v1.trace").Span(
            trace_id=trace.id,
            span_id=wire.span_id(event.id),
            parent_span_id=(trace.parent or b"") if parent is None else wire.span_id(parent),
            name=wire.clean(words).strip() or str(event.kind),
            kind=CLIENT if event.kind in genai.MODELS and self.flavor != "openinference" else INTERNAL,
            start_time_unix_nano=start,
            end_time_unix_nano=max(start, ended(event, view)),
            attributes=wire.attributes(genai.attributes_of(TABLES[self.flavor], told)),
            events=[
                {"time_unix_nano": at, "name": wire.clean(name).strip() or "note", "attributes": wire.attributes(known)}
                for name, at, known in happened(event, view)
            ],
            links=[{"trace_id": one, "span_id": span} for one, span in (trace.links if is_root else ())],
            status={"code": FAILED, "message": wire.clean(failed)} if failed is not None else None,
            flags=SAMPLED,
        )

    # -- feedback -----------------------------------------------------------------------------------------------------

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """Each score by the backend's own call, where it has one; else a log record, if `scores` says so."""
        route = self.flavor if self.flavor in self.routes else "logs" if self.scores == "logs" else None
        if route is None:
            return Encoded(())
        target = views.target(feedback, tree)
        trace = Trace(TreeView.of(tree)).id if tree is not None else wire.trace_id(feedback["tree"])
        judged = Judged(feedback, trace, wire.span_id(target), self._around(TreeView.of(tree)) if tree else (b"", b""))
        items = []
        for at, (name, value, words) in enumerate(judgments(feedback)):
            key = f"{feedback['key']}:{at}"
            content = JUDGMENTS[route](judged, key, name, value, words)
            params = {"mlflow": (("trace", f"tr-{trace.hex()}"),), "logs": self._place("logs")}.get(route, ())
            items.append(Item(key, feedback["tree"], (), route, content, path_params=params))
        return Encoded(tuple(items))

    def advice(self) -> tuple[str, ...]:
        """An address that names the path twice."""
        twice = self.traces_endpoint.endswith(TRACES * 2)
        hint = f"spans go to {self.traces_endpoint}: leave {TRACES} out of OTEL_EXPORTER_OTLP_ENDPOINT"
        return (hint,) if twice else ()

    # -- answers ------------------------------------------------------------------------------------------------------

    def read_reply(self, request: Request, status: int, body: bytes) -> Verdict | None:
        """A 2xx may leave out some of the spans, and says how many: none of those may be sent again."""
        route = request.items[0].route
        if route == "mlflow" and status >= 400 and b"constraint violation" in body:
            return Verdict()  # the id is there: it was taken before
        if not 200 <= status < 300 or route not in ("spans", "logs"):
            return super().read_reply(request, status, body)
        said = partial_success(body)
        if said is None:
            return Verdict(verified=False)
        rejected, words = said
        if rejected <= 0:
            return Verdict(warning=words)
        words = words or f"{rejected} rejected"
        if rejected >= len(request.items):
            return Verdict(refused=dict.fromkeys((item.key for item in request.items), words))
        return Verdict(rejected=dict.fromkeys((item.key for item in request.items[-rejected:]), words))


def pairs_of(given: Any, setting: str) -> dict[str, Any]:
    """A mapping as it is; `name=value,…` with percent-encoded values as one."""
    if not isinstance(given, str):
        return dict(given)
    found = {}
    for part in filter(None, (part.strip() for part in given.split(","))):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"OTLP.{setting}", "it is no list of pairs", "Write name=value,name=value")
        found[unquote(name.strip())] = unquote(value.strip())
    return found


def partial_success(body: bytes) -> tuple[int, str] | None:
    """How many spans an answer says were left out, and its words; None where it cannot be read.

    An answer may be JSON whatever its content type says (MLflow), and an empty one means that all were taken.
    """
    if body[:1] == b"{":
        reply = cast("dict[str, Any]", json_in(body) or {})
        said = reply.get("partialSuccess") or reply.get("partial_success") or {}
        try:
            return int(said.get("rejectedSpans") or said.get("rejectedLogRecords") or 0), as_text(
                said.get("errorMessage")
            )
        except (AttributeError, TypeError, ValueError):
            return None
    try:
        reply = wire.proto("collector.trace.v1.trace_service").ExportTraceServiceResponse.FromString(body)
    except Exception:  # noqa: BLE001  (protobuf's errors are of whichever of its implementations is there)
        return None
    return reply.partial_success.rejected_spans, reply.partial_success.error_message


class Trace:
    """Where a tree's spans belong: its own trace, or that of the app's span around it."""

    def __init__(self, view: TreeView) -> None:
        """Look at the root."""
        self.id = wire.trace_id(view.tree.id)
        self.parent: bytes | None = None
        self.links: list[tuple[bytes, bytes]] = []
        around = TRACEPARENT.fullmatch(view.root.traceparent or "")
        if around is not None:
            trace, span = bytes.fromhex(around[1]), bytes.fromhex(around[2])
            if int(around[3], 16) & SAMPLED:
                self.id, self.parent = trace, span
            else:  # nobody will see that span
                self.links.append((trace, span))
        resumed = view.root.metadata.get("resumes")
        if isinstance(resumed, str):
            self.links.append((wire.trace_id(resumed), wire.span_id(resumed)))


def ended(event: Event, view: TreeView) -> int:
    """The end of an event in ns; of one that never ended, the last that is known of it and of what is below it."""
    end = end_of(event)
    if end is not None:
        return wire.nanoseconds(end)
    first = later(event.start, seconds(event.time_to_first_token) or 0.0)
    ends = [end_of(one) or one.start for one in view.tree.by_parent.get(event.id, ())]
    known = [event.start, *([first] if first else []), *(note.at for note in event.notes), *ends]
    return max(map(wire.nanoseconds, known))


def happened(event: Event, view: TreeView) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """Name, time and attributes of what happened during a run: its error, its notes, what people said of it."""
    if event.error is not None and event.status is Status.ERROR:
        known = {"type": event.error.type, "message": event.error.message, "stacktrace": event.error.traceback}
        yield "exception", ended(event, view), {f"exception.{key}": one for key, one in known.items()}
    for note in event.notes:
        yield note.name or "note", wire.nanoseconds(note.at), {"value": genai.value_text(note.value)}
    scores = view.links(event, ("scores",)).get("scores")
    own = [{"score": scores}] if isinstance(scores, dict) else []
    for feedback in (*own, *view.feedback(event)):
        at = from_ns(feedback.get("at"))
        when = ended(event, view) if at is None else wire.nanoseconds(at)
        for name, value, words in judgments(feedback):
            yield "gen_ai.evaluation.result", when, evaluation(name, value, words)


def judgments(feedback: Mapping[str, JsonValue]) -> Iterator[tuple[str, JsonValue, str | None]]:
    """Each score of a feedback with its name and the comment; a comment or a correction alone is one too."""
    comment = genai.value_text(feedback.get("comment"))
    scores = views.scored(feedback) if feedback.get("score") is not None else {}
    for name, value in scores.items():
        if value is not None:
            yield name.strip() or "score", value, comment
    if comment is not None and not scores:
        yield as_text(feedback.get("name")).strip() or "comment", None, comment
    if feedback.get("correction") is not None:
        yield "correction", genai.value_text(feedback["correction"]), None


def evaluation(name: str, value: JsonValue, words: str | None) -> dict[str, Any]:
    """A judgment in the words of the conventions."""
    score = views.number(value)
    return {
        "gen_ai.evaluation.name": name,
        "gen_ai.evaluation.score.value": score,
        "gen_ai.evaluation.score.label": None if score is not None else genai.value_text(value),
        "gen_ai.evaluation.explanation": words,
    }


class Judged:
    """What a late feedback is on."""

    def __init__(self, feedback: Feedback, trace: bytes, span: bytes, around: tuple[bytes, bytes]) -> None:
        """Take the ids, and the resource and scope of a log record."""
        self.feedback, self.trace, self.span, self.around = feedback, trace, span, around
        own = feedback.get("metadata")
        self.metadata = own if isinstance(own, dict) else {}
        self.user = genai.value_text(feedback.get("user"))


def phoenix_annotation(judged: Judged, key: str, name: str, value: JsonValue, words: str | None) -> bytes:
    """`POST /v1/span_annotations` of Phoenix: with the same `identifier` it is the same annotation."""
    score = views.number(value)
    label = None if score is not None else genai.value_text(value)
    result = without_nulls({"score": score, "label": label, "explanation": words})
    metadata = {**judged.metadata, **without_nulls({"user": judged.user})}
    return to_json(
        {"span_id": judged.span.hex(), "name": name, "annotator_kind": "HUMAN", "identifier": key, "result": result,
         **({"metadata": metadata} if metadata else {})}
    )  # fmt: skip


def mlflow_assessment(judged: Judged, key: str, name: str, value: JsonValue, words: str | None) -> bytes:
    """`POST /api/3.0/mlflow/traces/{trace}/assessments` of MLflow. A correction is an expectation. The id is ours, so
    that the same assessment is refused when it comes again (`read_reply`).
    """
    trace = f"tr-{judged.trace.hex()}"
    kind = {"expectation": {"value": value}} if name == "correction" else {
        "feedback": {"value": words if value is None else value}}  # fmt: skip
    source = {"source_type": "HUMAN", "source_id": judged.user or "eventtree"}
    metadata = {str(one): as_text(value) for one, value in {**judged.metadata, "eventtree.key": key}.items()}
    known = {"assessment_id": f"a-{wire.trace_id(key).hex()}", "assessment_name": name, "trace_id": trace,
             "span_id": judged.span.hex(), "source": source, **kind}  # fmt: skip
    return to_json({"assessment": without_nulls({**known, "rationale": words, "metadata": metadata})})


def langfuse_score(judged: Judged, key: str, name: str, value: JsonValue, words: str | None) -> bytes:
    """`POST /api/public/scores` of Langfuse: with the same `id` it is the same score."""
    score = views.number(value)
    judgment = score if score is not None else words if value is None else genai.value_text(value)
    known = {"id": key, "traceId": judged.trace.hex(), "observationId": judged.span.hex(), "name": name,
             "value": judgment, "dataType": "NUMERIC" if score is not None else "CATEGORICAL",
             "comment": words, "metadata": judged.metadata or None}  # fmt: skip
    return to_json(without_nulls(known))


def log_record(judged: Judged, key: str, name: str, value: JsonValue, words: str | None) -> bytes:
    """The log event `gen_ai.evaluation.result` of the conventions."""
    at = from_ns(judged.feedback.get("at"))
    made = wire.proto("logs.v1.logs").LogRecord(
        time_unix_nano=0 if at is None else wire.nanoseconds(at), event_name="gen_ai.evaluation.result",
        trace_id=judged.trace, span_id=judged.span, flags=SAMPLED,
        attributes=wire.attributes({**evaluation(name, value, words), "user.id": judged.user, "eventtree.key": key}),
    )  # fmt: skip
    resource, scope = judged.around
    return wire.framed(1, resource + wire.framed(2, scope + wire.framed(2, made.SerializeToString())))


JUDGMENTS = {
    "openinference": phoenix_annotation, "mlflow": mlflow_assessment, "langfuse": langfuse_score, "logs": log_record,
}  # fmt: skip
"""Route → what it is sent for one judgment."""
