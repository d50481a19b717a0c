"""OTLP: trees as spans, to any backend that takes OpenTelemetry's protocol over HTTP (contracts/otlp.md).

A flavor selects the attributes' names: `genai` (OpenTelemetry's GenAI conventions), `openinference` (Phoenix), or
`genai` with the additions that Langfuse, LangSmith or MLflow read. `otlp_tables.py` has their tables.

=====================  =================================================================================================
ours                   OTLP
=====================  =================================================================================================
tree                   `trace_id`: the tree's UUID; where the app had a span of its own open, that span's trace
id, parent             `span_id`: the last 8 bytes of the run's UUID; `parent_span_id`; the whole id in `eventtree.id`
kind, name             `name`, `kind` (a model is a client's call), and the dialect's attributes
start, duration        `start_time_unix_nano`, `end_time_unix_nano`; without an end, the last known of it
status, error          status ERROR, `error.type`, the event `exception`; others in `eventtree.status`
notes                  events
feedback, scores       the backend's own call, or `/v1/logs`; else events `gen_ai.evaluation.result`, late `no_place`
environment            resource `deployment.environment.name`; release and service: `service.version`, `service.name`
traceparent, resumes   the root's parent and trace; a link where that trace is not sampled, and to a tree it resumes
all else               the tables of `otlp_tables.py`
=====================  =================================================================================================

No place, and not sent: `usage.raw`, events that are framework plumbing (dropped as `internal`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from struct import Struct, pack
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from pydantic import field_validator, model_validator

from eventtree import trace
from eventtree.errors import ConfigError
from eventtree.event import Event, EventTree
from eventtree.kinds import ERROR, RETRIEVER, JsonValue
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import as_text
from eventtree.serializer.requests import Encoded, Item, Request, Route, Verdict, new_item
from eventtree.serializer.times import from_ns, seconds
from eventtree.serializer.vendor import ABOUT_ONE, Feedback, Key, Vendor, in_clear, own_version, without_nulls
from eventtree.serializer.view import TreeView
from eventtree.vendors import otlp_wire as wire
from eventtree.vendors.otlp_event import Facts, value_text
from eventtree.vendors.otlp_tables import MODELS, attributes_of

Flavor = Literal["genai", "openinference", "langfuse", "langsmith", "mlflow"]
SIGNS: tuple[tuple[str, Flavor], ...] = (
    (r"langfuse|/api/public/otel", "langfuse"),
    (r"smith\.langchain|langsmith", "langsmith"),
    (r"phoenix|arize|:6006\b|x-project-name", "openinference"),
    (r"mlflow", "mlflow"),
)
"""Pattern in the address or a header's name → default flavor."""
PUBLIC = frozenset({
    *("x-project-name", "x-mlflow-experiment-id", "x-langfuse-ingestion-version", "langsmith-project", "x-bt-parent"),
    *("projectname", "comet-workspace", "x-honeycomb-dataset", "x-scope-orgid", "stream-name"),
})  # fmt: skip
"""Headers that name a project or dataset, not a key."""
OF_THE_REQUEST = frozenset({"host", "content-type", "content-length", "content-encoding", "transfer-encoding"})
SENDABLE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+: [!-~](?:[ -~]*[!-~])?", re.ASCII)
"""A valid header. With an invalid one no request could be sent."""
TRACES, LOGS = "/v1/traces", "/v1/logs"
PREFIXES = ("/api/public/otel/v1/traces", "/otel/v1/traces", TRACES)
"""Possible ends of a traces address. The rest is the base of the backend's other calls."""
CLIENT, INTERNAL, SAMPLED = 3, 1, 1
FAILED = b"\x18\x02"
"""Field 3 of a status: its code for an error."""
PLACED = Struct("<BBBQBQ2sI").pack
"""Kind, start, end and flags of a span (fields 6, 7, 8, 16), each behind its tag."""
NO_LINKS: list[tuple[bytes, bytes]] = []
DATA = (b'{"data":[', b"]}")
EVALUATION = "gen_ai.evaluation.result"


class OTLP(Vendor):
    """Send trees to any OTLP backend: `OTLP(endpoint="http://localhost:4318")`, or by OpenTelemetry's variables."""

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
        "scores": ("EVENTTREE_OTLP_SCORES",),
    }
    default_url: ClassVar[str] = "http://localhost:4318"
    needs_key: ClassVar[bool] = False
    accepts_parts: ClassVar[bool] = True
    secret_settings: ClassVar[frozenset[str]] = frozenset({"api_key", "headers"})
    routes: ClassVar[Mapping[str, Route]] = {
        "spans": Route("POST", "{traces}", max_items=512, format=wire.SPANS),
        "logs": Route("POST", "{logs}", max_items=100, format=wire.RECORDS, status_actions=ABOUT_ONE),
        "openinference": Route("POST", "/v1/span_annotations", DATA, max_items=100, status_actions=ABOUT_ONE),
        "mlflow": Route("POST", "/api/3.0/mlflow/traces/{trace}/assessments", status_actions=ABOUT_ONE),
        "langfuse": Route("POST", "/api/public/scores", status_actions=ABOUT_ONE),
    }
    max_bytes: ClassVar[int] = 4_000_000
    """Before compression: a fifth of the size a receiver may refuse by the protocol."""
    status_actions: ClassVar[Mapping[int, str]] = {
        status: "park" for status in (*range(401, 500), *range(505, 600)) if status not in (413, 422, 429)
    }
    """Only 429, 502, 503, 504 are retried, by the protocol, and 500, which overloaded backends send: waiting loses
    nothing. Any other status that is no verdict on a span waits for other settings.
    """

    endpoint: str = ""
    """The backend's address, to which `/v1/traces` is added unless it ends so."""
    traces_endpoint: str = ""
    """The address that takes spans, used unchanged. It wins over `endpoint`."""
    headers: Mapping[str, Key] = {}
    """Headers of each request, as keys travel in them. In the environment `name=value,…`, percent-encoded."""
    flavor: Flavor = "genai"
    """Names of the attributes; the default depends on address and headers."""
    scores: Literal["", "logs"] = ""
    """`logs` sends late feedback as log records (`gen_ai.evaluation.result`) where the flavor has no own call."""
    service: str = ""
    """The resource's `service.name`. It wins over the one among `resource`."""
    resource: Mapping[str, str] = {}
    """Attributes of the resource. In the environment `name=value,…`, percent-encoded."""
    protocol: Literal["http/protobuf"] = "http/protobuf"
    """The only protocol. Another one in the environment is an error, unless an address is given."""
    compression: Literal["gzip", "none"] = "gzip"
    """How requests are compressed."""

    @model_validator(mode="before")
    @classmethod
    def _from_environment(cls, given: Any) -> Any:
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.proto") is None:
            raise ConfigError("OTLP", "opentelemetry-proto is not installed", "Run pip install 'eventtree[otlp]'")
        given = {name: value for name, value in dict(given).items() if value is not None}
        is_addressed = any(given.get(name) for name in ("endpoint", "base_url", "traces_endpoint"))
        if is_addressed:
            # Settings in code win over the environment of the app's own exporter.
            given = {"traces_endpoint": "", "protocol": "http/protobuf", **given}
            given["base_url"] = given.pop("endpoint", "") or given.get("base_url", "")
        values = super()._from_environment(given)  # type: ignore[operator]
        values |= {name: pairs_of(values[name], name) for name in ("headers", "resource") if name in values}
        for name in ("protocol", "compression", "flavor"):
            if isinstance(values.get(name), str):
                values[name] = values[name].strip().lower()
        values["endpoint"] = values["base_url"]
        traces = str(values.get("traces_endpoint") or "").strip()
        url = urlsplit(traces or values["endpoint"])
        if url.scheme not in ("http", "https") or re.search(r"[\s{}\\]", url.geturl()):
            setting, given = ("traces_endpoint", traces) if traces else ("endpoint", values["endpoint"])
            raise ConfigError(f"OTLP.{setting}", f"{given!r} is no URL", "Give https://host[/path]")
        if not traces:
            path = url.path.rstrip("/")
            whole = is_addressed and path.endswith(TRACES)
            url = url._replace(path=path if whole else path + TRACES, fragment="")
        suffix = next((end for end in PREFIXES if url.path.endswith(end)), None)
        values["base_url"] = f"{url.scheme}://{url.netloc}{url.path.removesuffix(suffix) if suffix else ''}"
        values["traces_endpoint"] = url.geturl()
        if suffix is None and values.get("scores") == "logs":
            problem = f"where logs go is not told by {url.geturl()}"
            raise ConfigError("OTLP.scores", problem, f"Give an address that ends in {TRACES}")
        if not values.get("flavor"):
            signs = " ".join((values["traces_endpoint"], *map(str, values.get("headers") or ()))).lower()
            values["flavor"] = next((flavor for sign, flavor in SIGNS if re.search(sign, signs)), "genai")
        return values

    @field_validator("headers")
    @classmethod
    def _sendable(cls, given: Mapping[str, Key]) -> Mapping[str, Key]:
        for name, value in given.items():
            if name.lower() in OF_THE_REQUEST or SENDABLE.fullmatch(f"{name}: {in_clear(value)}") is None:
                hint = "Name one that is not the request's own, and leave out spaces at its end and odd characters"
                raise ConfigError("OTLP.headers", f"{name!r} cannot be sent", hint)
        return given

    def compresses(self, route: str) -> bool:
        """By the setting, for spans and logs: the backends' own calls for feedback accept no gzip."""
        return self.compression == "gzip" and route in ("spans", "logs")

    def auth(self) -> dict[str, str]:
        """The headers, and `api_key` in the header that the backend reads."""
        sent = {name.lower(): in_clear(value) for name, value in self.headers.items()}
        own = {"x-api-key": self.key} if self.flavor == "langsmith" else {"authorization": f"Bearer {self.key}"}
        return {**own, **sent} if self.key else sent

    def secrets(self) -> tuple[str, ...]:
        """The key, and the values of headers outside `PUBLIC`."""
        values = [value for name, value in self.auth().items() if name not in PUBLIC]
        return tuple(value.rpartition(" ")[2] for value in values if value)

    def identity(self) -> tuple[str, ...]:
        """The address, and the `PUBLIC` headers."""
        places = (f"{name}={value}" for name, value in self.auth().items() if name in PUBLIC)
        return (self.kind, self.traces_endpoint, *sorted(places))

    # -- trees --------------------------------------------------------------------------------------------------------

    def encode(self, tree: EventTree) -> Encoded:
        """A span for each event; an item is a whole request of one span."""
        view = TreeView.of(tree)
        return Encoded(tuple(self._items(view, view.events)), view.dropped(tree))

    @property
    def accepts_updates(self) -> bool:  # type: ignore[override]
        """MLflow replaces a span that is sent again; others keep the first, or show both."""
        return self.flavor == "mlflow"

    def encode_update(self, tree: EventTree, ended: Collection[str]) -> tuple[Item, ...]:
        """Spans of ended runs, sent again with their ends."""
        view = TreeView.of(tree)
        again = self._items(view, (event for event in view.events if event.id in ended))
        return tuple(item._replace(key=f"{item.key}:late", event_ids=()) for item in again)

    def _items(self, view: TreeView, events: Iterable[Event]) -> Iterator[Item]:
        place, around, path = place_of(view), self._around(view), self._place(TRACES)
        for event in events:
            span = self._span(event, view, place)
            yield new_item((event.id, view.id, (event.id,), "spans", around[len(span)] + span, 0, path))

    def _place(self, signal: str) -> tuple[tuple[str, str], ...]:
        path, *query = self.traces_endpoint.removeprefix(self.base_url).partition("?")
        own = path.removesuffix(TRACES) + signal if path.endswith(TRACES) else path
        return ((signal.rpartition("/")[2], "".join((own, *query))),)

    def _around(self, view: TreeView) -> wire.Before:
        """Bytes before a span or log record that make it a request: resource and scope."""
        root = view.root
        service = self.service or root.service or self.resource.get("service.name") or "unknown_service"
        own = (("service.name", service), ("service.version", root.release or None))
        return around_of((*self.resource.items(), *own, ("deployment.environment.name", root.environment)))

    def _span(self, event: Event, view: TreeView, place: Place) -> bytes:
        facts, failed = Facts(event, view), views.failure(event) if event.status is ERROR else None
        (trace_id, above, links), is_plain, is_asked = place, self.flavor == "openinference", event.kind in MODELS
        name, start, parent = event.name, wire.nanoseconds(event.start), view.parent_id(event)
        if facts.operation is not None and not is_plain:
            subject = facts.asked_model if is_asked else "" if event.kind is RETRIEVER else name
            name = f"{facts.operation} {subject or ''}"
        if parent is not None:
            above, links = wire.span_id(parent), NO_LINKS
        end = ended(event, view, start)
        return b"".join((
            b"\x0a\x10", trace_id, b"\x12\x08", wire.span_id(event.id), b"\x22\x08" + above if above else b"",
            wire.text_field(5, name.strip() or str(event.kind)),
            PLACED(0x30, CLIENT if is_asked and not is_plain else INTERNAL, 0x39, start,
                   0x41, end if end > start else start, b"\x85\x01", SAMPLED),
            *[wire.framed(13, wire.ids(1, *link)) for link in links],
            b"" if failed is None else wire.framed(15, wire.text_field(2, failed) + FAILED),
            *attributes_of(self.flavor, facts),
            *(happened(event, view, end) if event.notes or event.error is not None or view.has_more(event) else ()),
        ))  # fmt: skip

    # -- feedback -----------------------------------------------------------------------------------------------------

    @property
    def _feedback_route(self) -> str | None:
        return self.flavor if self.flavor in self.routes else self.scores or None

    @property
    def feedback_in_trees(self) -> bool:  # type: ignore[override]
        """Put feedback on its span if the backend takes none afterwards."""
        return self._feedback_route is None

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """Each score by the backend's own call, if it has one; else as a log record, if `scores` is `logs`."""
        route = self._feedback_route
        if route is None:
            return Encoded(())
        view = None if tree is None else TreeView.of(tree)
        around = wire.Before((2, b""), (2, b""), (1, b"")) if view is None else self._around(view)
        on = (
            wire.trace_id(feedback["tree"]) if view is None else place_of(view)[0],
            wire.span_id(views.target(feedback, tree)),
        )
        params = {"mlflow": (("trace", f"tr-{on[0].hex()}"),), "logs": self._place(LOGS)}.get(route, ())
        items = []
        for at, judgment in enumerate(judgments(feedback)):
            key = f"{feedback['key']}:{at}"
            if route == "logs":
                record = log_record(judgment, feedback, key, *on)
                content = around[len(record)] + record
            else:
                content = to_json(bodies(judgment, feedback, key, *on)[route])
            items.append(Item(key, feedback["tree"], (), route, content, path_params=params))
        return Encoded(tuple(items))

    def advice(self) -> tuple[str, ...]:
        """Advice on an address with the path twice, or with gRPC's port."""
        known = {
            TRACES * 2: f"leave {TRACES} out of OTEL_EXPORTER_OTLP_ENDPOINT",
            f":4317{TRACES}": "HTTP has port 4318",
        }
        to = self.traces_endpoint.partition("?")[0]
        return tuple(f"spans go to {to}: {hint}" for end, hint in known.items() if to.endswith(end))

    # -- answers ------------------------------------------------------------------------------------------------------

    def words_in(self, body: bytes) -> bytes:
        """The message of the protocol's errors, a `google.rpc.Status`. A span's status has it in the same field."""
        try:
            message: str = wire.proto("trace.v1.trace", "Status").FromString(body).message
        except Exception:  # noqa: BLE001  (each of protobuf's implementations has its own errors)
            return body
        return message.encode() or body

    def read_reply(self, request: Request, status: int, body: bytes) -> Verdict | None:
        """The verdict of an answer. A 2xx may report rejected spans by number; none may be sent again."""
        route = request.items[0].route
        if route == "mlflow" and status >= 400 and b"constraint violation" in body:
            return Verdict()  # the backend has this id from an earlier try
        if not 200 <= status < 300 or route not in ("spans", "logs"):
            return super().read_reply(request, status, body)
        outcome = partial_success(body, route)
        if outcome is None:
            return Verdict(verified=False)
        rejected, words = outcome
        if rejected <= 0:
            return Verdict(warning=words)
        words = words or f"{rejected} rejected"
        if rejected >= len(request.items):
            return Verdict(refused=dict.fromkeys((item.key for item in request.items), words))
        return Verdict(rejected=dict.fromkeys((item.key for item in request.items[-rejected:]), words))


def pairs_of(given: Any, setting: str) -> dict[str, Any]:
    """A mapping itself; `name=value,…` with percent-encoded values as a mapping."""
    if isinstance(given, Mapping):
        return dict(given)
    parts, found = given.split(",") if isinstance(given, str) else ["no pair"], {}
    for part in filter(None, map(str.strip, parts)):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            raise ConfigError(f"OTLP.{setting}", "it is no list of pairs", "Write name=value,name=value")
        found[unquote(name.strip())] = unquote(value.strip())
    return found


def partial_success(body: bytes, route: str) -> tuple[int, str] | None:
    """Number of rejected spans in an answer, and its message; None if it cannot be read.

    An answer may be JSON under any content type (MLflow), and an empty one accepts all.
    """
    module, message, count = ANSWERS[route]
    reply = wire.proto(module, message)()
    try:
        if body.lstrip()[:1] == b"{":
            from google.protobuf.json_format import Parse

            Parse(body, reply, ignore_unknown_fields=True)
        else:
            reply.ParseFromString(body)
    except Exception:  # noqa: BLE001  (each of protobuf's implementations has its own errors)
        return None
    return getattr(reply.partial_success, count), reply.partial_success.error_message


ANSWERS = {
    "spans": ("collector.trace.v1.trace_service", "ExportTraceServiceResponse", "rejected_spans"),
    "logs": ("collector.logs.v1.logs_service", "ExportLogsServiceResponse", "rejected_log_records"),
}


@lru_cache(maxsize=16)
def around_of(resource: tuple[tuple[str, str | None], ...]) -> wire.Before:
    """Bytes before a span of this resource."""
    version = own_version()
    sdk = {"telemetry.sdk.name": "eventtree", "telemetry.sdk.language": "python", "telemetry.sdk.version": version}
    known = wire.attributes(wire.RESOURCE, {**{name: one for name, one in resource if one is not None}, **sdk})
    scope = wire.text_field(1, "eventtree") + (wire.text_field(2, version) if version else b"")
    return wire.Before((2, wire.framed(1, scope)), (2, wire.framed(1, known)), (1, b""))


Place = tuple[bytes, bytes, list[tuple[bytes, bytes]]]
"""Place of a tree's spans: the trace, the root's parent span, and the root's links."""


def place_of(view: TreeView) -> Place:
    """The place in the tree's own trace, or in the app's trace around it."""
    own, parent, links = wire.trace_id(view.id), b"", []
    around = trace.parse(view.root.traceparent) if view.root.traceparent else None
    if around is not None:
        above = bytes.fromhex(around.trace_id), bytes.fromhex(around.span_id)
        if around.sampled:
            own, parent = above
        else:  # no backend has that span
            links.append(above)
    resumed = view.root.metadata.get("resumes")
    if isinstance(resumed, str):
        links.append((wire.trace_id(resumed), wire.span_id(resumed)))
    return own, parent, links


def ended(event: Event, view: TreeView, start: int) -> int:
    """End of an event in ns. Without an end: the last known time of the event, its notes and its children."""
    elapsed = seconds(event.duration)
    if elapsed is not None:
        end = start + round(elapsed * 1e6) * 1_000
        return end if start > 0 and end <= wire.MOST else wire.nanoseconds(event.start, elapsed)
    first = wire.nanoseconds(event.start, seconds(event.time_to_first_token) or 0.0)
    ends = (wire.nanoseconds(one.start, seconds(one.duration) or 0.0) for one in view.tree.by_parent.get(event.id, ()))
    return max([first, *(wire.nanoseconds(note.at) for note in event.notes), *ends])


def happened(event: Event, view: TreeView, end: int) -> Iterator[bytes]:
    """The span's events: its error, notes and feedback."""
    if event.error is not None and event.status is ERROR:
        known = {"type": event.error.type, "message": event.error.message, "stacktrace": event.error.traceback}
        yield event_of("exception", end, {f"exception.{key}": one for key, one in known.items()})
    for note in event.notes:
        yield event_of(note.name, wire.nanoseconds(note.at), {"value": value_text(note.value)})
    scores = view.links(event, ("scores",)).get("scores")
    own = [{"score": scores}] if isinstance(scores, dict) else []
    for feedback in (*own, *view.feedback(event)):
        at = from_ns(feedback.get("at"))
        when = end if at is None else wire.nanoseconds(at)
        yield from (event_of(EVALUATION, when, one.attributes) for one in judgments(feedback))


def event_of(name: str, at: int, attributes: Mapping[str, Any]) -> bytes:
    """A span's event, as a field of the span."""
    named = wire.text_field(2, name.strip() or "note")
    return wire.framed(11, b"\x09" + pack("<Q", at) + named + wire.attributes(wire.EVENT, attributes))


# Feedback


class Judgment(NamedTuple):
    """One score of a feedback: its value as a number or else as a text, and the comment."""

    name: str
    value: JsonValue
    score: float | None
    label: str | None
    words: str | None

    @property
    def attributes(self) -> dict[str, Any]:
        """Attributes by the conventions."""
        found = {"name": self.name, "score.value": self.score, "score.label": self.label, "explanation": self.words}
        return {f"gen_ai.evaluation.{key}": one for key, one in found.items()}


def judgments(feedback: Mapping[str, JsonValue]) -> Iterator[Judgment]:
    """Each score of a feedback; a comment without a score, or a correction, counts as one."""
    comment, correction = value_text(feedback.get("comment")), value_text(feedback.get("correction"))
    scores = views.scored(feedback) if feedback.get("score") is not None else {}
    found = [(name.strip() or "score", value, comment) for name, value in scores.items() if value is not None]
    if comment is not None and not scores:
        found.append((as_text(feedback.get("name")).strip() or "comment", None, comment))
    if correction is not None:
        found.append(("correction", correction, None))
    for name, value, words in found:
        score = views.number(value)
        yield Judgment(name, value, score, value_text(value) if score is None else None, words)


def bodies(judgment: Judgment, feedback: Feedback, key: str, trace: bytes, span: bytes) -> Mapping[str, JsonValue]:
    """Route → body of the backend's own call. A retry is stored once: Phoenix replaces by `identifier`, Langfuse by
    `id`; MLflow refuses a known `assessment_id` (`read_reply`). MLflow calls a correction an expectation.
    """
    own, user = feedback.get("metadata"), value_text(feedback.get("user"))
    metadata = own if isinstance(own, dict) else {}
    return {
        "openinference": without_nulls({
            "span_id": span.hex(), "name": judgment.name, "annotator_kind": "HUMAN", "identifier": key,
            "result": without_nulls({"score": judgment.score, "label": judgment.label, "explanation": judgment.words}),
            "metadata": {**metadata, **without_nulls({"user": user})} or None,
        }),
        "mlflow": {"assessment": without_nulls({
            "assessment_id": f"a-{wire.trace_id(key).hex()}", "assessment_name": judgment.name,
            "trace_id": f"tr-{trace.hex()}", "span_id": span.hex(), "rationale": judgment.words,
            "source": {"source_type": "HUMAN", "source_id": user or "eventtree"},
            "expectation" if judgment.name == "correction" else "feedback":
                {"value": judgment.words if judgment.value is None else judgment.value},
            "metadata": {str(name): as_text(one) for name, one in {**metadata, "eventtree.key": key}.items()},
        })},
        "langfuse": without_nulls({
            "id": key, "traceId": trace.hex(), "observationId": span.hex(), "name": judgment.name,
            "value": next((one for one in (judgment.score, judgment.label) if one is not None), judgment.words),
            "dataType": "CATEGORICAL" if judgment.score is None else "NUMERIC", "comment": judgment.words,
            "metadata": metadata or None,
        }),
    }  # fmt: skip


def log_record(judgment: Judgment, feedback: Feedback, key: str, trace: bytes, span: bytes) -> bytes:
    """The log event `gen_ai.evaluation.result` of the conventions."""
    at = from_ns(feedback.get("at"))
    attributes = {**judgment.attributes, "user.id": value_text(feedback.get("user")), "eventtree.key": key}
    return b"".join((
        b"\x09", pack("<Q", 0 if at is None else wire.nanoseconds(at)), wire.attributes(wire.RECORD, attributes),
        b"\x45", pack("<I", SAMPLED), wire.ids(9, trace, span), wire.text_field(12, EVALUATION),
    ))  # fmt: skip
