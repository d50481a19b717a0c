"""Nebuly: one interaction per tree, its steps as a flat list in order of time. Source: contracts/nebuly.md.

========================================  ==========================================================================
event                                     place
========================================  ==========================================================================
root                                      the interaction; and a step, if it is of a kind that makes one
model                                     LLM step: model, messages, output, tokens; v3: cost in whole micro-dollars
tool, retriever, reranker                 Retrieval step: source is its name, input the arguments, outputs the texts
embedding                                 Embedding step: model, input, tokens
any other chain, agent                    dropped, `no_place`: steps have no parents
internal                                  dropped, `internal`
========================================  ==========================================================================

The interaction's `input` is what the user wrote: found in the root's inputs (`QUESTION`), else the last user message of
the first model, else the query of the first retriever. Its `output` is what the user saw: the root's (`ANSWER`), else
the last model's text, else the error or the status in brackets. A tree without a user (its own, or `end_user`) is
dropped as `no_end_user`, one without user text as `no_user_text`. `end_user` goes out as given: hash it if need be.

`conversation_id` is the session, else the tree's id. `tags`, all text, hold the tags (`k:v` → k, a bare one → "true"),
the root's metadata (dotted), the ties to a dataset, the tree's id, and the status and error of a root that did not end
well, and its scores that have a name (`score.NAME`). Feedback on anything in the tree is the interaction's: a nameless
score is a thumb, a correction an edit; named scores below the root have no place. Feedback that comes late is sent to
`/feedback`, named scores in it to `/tags`; both are linked by user, input and output, so the tree must still be known.

No place: errors (a failed step says so in its output), the times, parents and ids of steps, parameters, reasoning,
notes, cached tokens, metadata and tags below the root. Messages become text: media are named, tool calls spelled out;
messages end on a user turn, an empty one if need be. In v2 Nebuly finds the cost itself, by model and tokens.
A/B flags are a setting and the root's `eventtree_feature_flags`, group profiles a setting; earlier turns are not ours.

Nebuly knows no ids. A request sent again because its answer was lost makes the interaction twice (not `idempotent`);
the tag `tree_id` tells them apart. Any 2xx is an acceptance, whatever its body.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, ClassVar, Literal

from eventtree.event import Event, EventTree
from eventtree.kinds import ERROR, MODEL, OK, RETRIEVER, TOOL, JsonValue, Kind
from eventtree.pace import paced, paced_sorted
from eventtree.serializer import view as views
from eventtree.serializer.formats import to_json
from eventtree.serializer.messages import (
    Forms,
    as_text,
    is_message,
    is_messages,
    messages_in,
    messages_out,
    role_among,
    text_of,
)
from eventtree.serializer.requests import Encoded, Item, Route
from eventtree.serializer.times import end_of, from_ns, in_utc, iso_ms, later
from eventtree.serializer.vendor import ABOUT_ONE, Feedback, Vendor, Words, without_nulls
from eventtree.serializer.view import TreeView

Fields = dict[str, Any]
Version = Literal["v2", "v3"]


NO_TEXT = "trees without any text of a user are dropped as no_user_text"


class Nebuly(Vendor):
    """Nebuly, hosted (EU: base_url="https://backend.eu.nebuly.com") or your own."""

    kind: ClassVar[str] = "nebuly"
    env: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "api_key": ("NEBULY_API_KEY",),
        "base_url": ("NEBULY_ENDPOINT_URL", "NEBULY_API_URL", "NEBULY_ENDPOINT"),
    }
    default_url: ClassVar[str] = "https://backend.nebuly.com"
    routes: ClassVar[Mapping[str, Route]] = {
        **{
            version: Route("POST", f"/event-ingestion/api/{version}/events/trace_interaction")
            for version in ("v2", "v3")
        },
        "feedback": Route("POST", "/event-ingestion/api/v1/events/feedback", status_actions=ABOUT_ONE),
        "tags": Route("POST", "/event-ingestion/api/v2/events/tags", status_actions=ABOUT_ONE),
    }
    idempotent: ClassVar[bool] = False
    export_settings: ClassVar[Mapping[str, Any]] = {"end_user": "unknown"}
    drop_hints: ClassVar[Mapping[str, str]] = {
        "no_end_user": "Name one with eventtree.session(…, user=…) or the handler's user=…, or set end_user=…",
        "no_user_text": "It is looked for in the root's inputs (question, input, messages, …), models and retrievers",
    }

    version: Version = "v2"
    """v2 is the documented one; v3 is what Nebuly's own tools send since June 2026."""
    anonymize: bool = True
    """Let Nebuly remove personal data. It is always sent, since Nebuly's own clients differ on the default."""
    end_user: str | None = None
    """The user of trees that name none."""
    hide_content: bool = False
    """Hide input and output in Nebuly's interface."""
    feature_flags: Words = ()
    """Variants of A/B tests that all trees belong to; `eventtree_feature_flags` in a root's metadata adds its own."""
    end_user_group_profile: str | None = None
    """The group that all users of this vendor belong to."""
    feedback_field: Literal["action", "feedback"] = "action"
    """The key of late feedback's item: all of Nebuly's clients write `action`, its newest page `feedback`."""

    @classmethod
    def normal_url(cls, url: str) -> str:
        """The host, whichever of Nebuly's own settings `url` comes from: some hold the path of an endpoint."""
        return url.split("/event-ingestion", 1)[0].rstrip("/")

    def encode(self, tree: EventTree) -> Encoded:
        """One item for the tree, or none, with a reason for every event."""
        view = TreeView.of(tree)
        shown = view.tree
        user, question, reason = self.about(shown)
        if reason:
            return Encoded((), {event.id: reason for event in tree.events})
        placed = tuple(event.id for event in paced(shown.events) if event is shown.root or event.kind in STEPS)
        item = Item(tree.id, tree.id, placed, self.version, to_json(self.interaction(view, user, question)))
        no_place = dict.fromkeys(view.ids - set(placed), "no_place")
        return Encoded((item,), {**no_place, **view.dropped(tree)})

    def encode_feedback(self, feedback: Feedback, tree: EventTree | None, learned: Mapping[str, str]) -> Encoded:
        """Feedback, and named scores as tags. Nebuly links both by user, question and answer, so the tree is needed."""
        if tree is None:
            return Encoded(())
        shown = TreeView.of(tree).tree
        user, question, reason = self.about(shown)
        if reason:
            return Encoded((), {feedback["key"]: reason})
        start, end = span(shown)
        linked = {"input": question, "output": answer_of(shown), "end_user": user}
        after = max(from_ns(feedback["at"]) or end, later(end, 0.001) or end)
        about = {**linked, **self.group(), "timestamp": iso_ms(after), "anonymize": self.anonymize}
        bodies = [("feedback", {"metadata": about, self.feedback_field: item}) for item in feedback_items(feedback)]
        named = views.scores_in(feedback) if feedback.get("name") or isinstance(feedback.get("score"), dict) else {}
        if named:
            scores = {f"score.{name}": as_text(score) for name, score in named.items()}
            bodies.append(("tags", {"tags": scores, "metadata": {**linked, "time_start": iso_ms(start)}}))
        key, on = feedback["key"], feedback["tree"]
        items = (Item(f"{key}.{at}", on, (), route, to_json(body)) for at, (route, body) in enumerate(bodies))
        return Encoded(tuple(items))

    def about(self, tree: EventTree) -> tuple[str, str, str | None]:
        """The tree's user (the root's first; blank names are skipped), the user's text, and why it cannot be sent."""
        named = (event.user for event in paced(tree.events) if event.user and event.user.strip())
        candidates: list[Iterable[str]] = [
            [user_text(tree.root.inputs)],
            (last_by(messages_in(event), "user") for event in of_kind(tree, MODEL)),
            (user_text(event.inputs) for event in of_kind(tree, RETRIEVER)),
        ]
        question = next((text for texts in candidates for text in texts if text.strip()), "")
        user = next(named, (self.end_user or "").strip())
        return user, question, "no_end_user" if not user else "no_user_text" if not question else None

    def advice(self) -> tuple[str, ...]:
        """Warnings about trees that would be dropped."""
        if self.end_user and self.end_user.strip():
            return (NO_TEXT,)
        hint = self.drop_hints["no_end_user"]
        return (f"no end_user: trees without a user are dropped as no_end_user. {hint}", NO_TEXT)

    def group(self) -> Fields:
        """The group of all users, if the setting names one."""
        return without_nulls({"end_user_group_profile": self.end_user_group_profile})

    def interaction(self, view: TreeView, user: str, question: str) -> Fields:
        """The body of a request."""
        tree = view.tree
        start, end = span(tree)
        flags = list(dict.fromkeys((*self.feature_flags, *texts_of(view.dataset_field("feature_flags")))))
        fields = {
            "conversation_id": (tree.root.session_id or "").strip() or tree.id, "input": question,
            "output": answer_of(tree), "time_start": iso_ms(start), "time_end": iso_ms(end), "end_user": user,
            "tags": tags(view), **({"hide_content": True} if self.hide_content else {}),
            **({"feature_flags": flags} if flags else {}), **self.group(),
        }  # fmt: skip
        given = [item for one in tree.feedback for item in feedback_items(one)]
        feedback = {FEEDBACK_FIELD[self.version]: given} if given or self.version == "v3" else {}
        return {"interaction": fields, "traces": steps(view, self.version), **feedback, "anonymize": self.anonymize}


def texts_of(value: JsonValue) -> list[str]:
    """The text, or the texts of the list, that are not blank."""
    values = value if isinstance(value, list) else [value]
    return [one for one in values if isinstance(one, str) and one.strip()]


FEEDBACK_FIELD: Mapping[Version, str] = {"v2": "feedback_actions", "v3": "user_feedback"}


# The user's question, and the answer

QUESTION = (
    "question", "input", "query", "user_input", "user_message", "query_str", "str_or_query_bundle", "message", "prompt",
    "text", "content", "messages",
)  # fmt: skip
"""Keys of an object that may have the user's text, likeliest first."""

ANSWER = (
    "answer", "output", "response", "result", "final_answer", "final_output", "completion", "generation", "message",
    "text", "content", "texts", "messages", "documents",
)  # fmt: skip
"""Keys of an object that may have the answer, likeliest first."""

DEPTH = 8
"""Levels of objects that are searched for a text."""


def answer_of(tree: EventTree) -> str:
    """The text that the user saw; never empty."""
    root = tree.root
    found = shown_text(root.outputs)
    if not found.strip() and root.status is not ERROR:
        spoken = (text_of_model(event) for event in reversed(of_kind(tree, MODEL)))
        found = next((text for text in spoken if text.strip()), "")
    return found if found.strip() else failure(root) or "[no output]"


def of_kind(tree: EventTree, kind: Kind) -> list[Event]:
    """Events of a kind, by start."""
    return in_time(event for event in paced(tree.events) if event.kind is kind)


def in_time(events: Iterable[Event]) -> list[Event]:
    """Events by start."""
    return paced_sorted(events, lambda event: in_utc(event.start))


def user_text(value: JsonValue, depth: int = DEPTH) -> str:
    """The user's text in a run's inputs."""
    if isinstance(value, str):
        return value
    if is_message(value) or is_messages(value):
        return last_by(value if isinstance(value, list) else [value], "user")
    return first_text(value, QUESTION, user_text, depth) if isinstance(value, dict) and depth else ""


def shown_text(value: JsonValue, depth: int = DEPTH) -> str:
    """The text in a run's outputs that a user would see; JSON if none is found."""
    if is_message(value) or is_messages(value):
        messages = value if isinstance(value, list) else [value]
        return last_by(messages, "assistant") or next((t for t in map(words, reversed(messages)) if t.strip()), "")
    if isinstance(value, list):
        return "\n\n".join(shown_text(item, depth - 1) for item in value) if depth else as_text(value)
    if isinstance(value, dict) and value and depth:
        return first_text(value, ANSWER, shown_text, depth) or as_text(value)
    return "" if value == {} else as_text(value)


def first_text(
    value: Mapping[str, JsonValue], keys: Iterable[str], find: Callable[[JsonValue, int], str], depth: int
) -> str:
    """The first text under one of `keys`, else the object's only value if that is text."""
    texts = (find(value[key], depth - 1) for key in keys if key in value)
    alone = next(iter(value.values())) if len(value) == 1 else None
    return next((text for text in texts if text.strip()), alone if isinstance(alone, str) else "")


def last_by(messages: Iterable[Mapping[str, JsonValue]], role: str) -> str:
    """The text of the last message with this role that has any."""
    spoken = [text_of(message.get("content")) for message in messages if role_of(message) == role]
    return next((text for text in reversed(spoken) if text.strip()), "")


def failure(event: Event) -> str | None:
    """Status and error of a run that did not end with `ok`; None for one that did."""
    if event.status is OK:
        return None
    return f"[{event.status!s}] {views.error_line(event) or ''}".strip()


def span(tree: EventTree) -> tuple[datetime, datetime]:
    """Start and end of the interaction: those of its root, or its last event's end."""
    start = in_utc(tree.root.start)
    end = end_of(tree.root)
    if end is None:
        end = max((in_utc(end_of(event) or event.start) for event in tree.events), default=start)
    return start, max(start, in_utc(end))


# Messages as text

ROLES = frozenset({"system", "user", "assistant", "tool"})


def role_of(message: Mapping[str, JsonValue]) -> str:
    """The message's role as one of Nebuly's four."""
    return role_among(ROLES, message.get("role")) or "user"


def words(message: Mapping[str, JsonValue]) -> str:
    """A message's text, with its tool calls as text."""
    calls = message.get("tool_calls")
    lines = [text_of(message.get("content"))]
    lines += [call_text(call) for call in calls] if isinstance(calls, list) else []
    return "\n".join(line for line in lines if line)


def call_text(call: JsonValue) -> str:
    """A tool call as text: `search({"q": "…"})`."""
    if not isinstance(call, dict):
        return as_text(call)
    return f"{as_text(call.get('name')) or 'unknown'}({as_text(call.get('arguments'))})"


def conversation(event: Event, forms: Forms) -> list[Fields]:
    """A model's messages, ending with a user's turn as Nebuly requires: later answers are cut, an empty turn added."""
    messages = forms.of(messages_in(event, forms.are_messages), turn)
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages or messages[-1]["role"] != "user":
        messages.append({"role": "user", "content": ""})
    return messages


def turn(message: Mapping[str, JsonValue]) -> Fields:
    """A message as a turn of a conversation."""
    return {"role": role_of(message), "content": words(message)}


def text_of_model(event: Event) -> str:
    """The text of all of a model's generations."""
    return "\n\n".join(words(message) for message in messages_out(event))


# Steps


def steps(view: TreeView, version: Version) -> list[Fields]:
    """The tree's steps, by start."""
    in_order = paced(in_time(view.tree.events), each=True)
    return [STEPS[event.kind](event, version, view.forms) for event in in_order if event.kind in STEPS]


def model_step(event: Event, version: Version, forms: Forms) -> Fields:
    """A model call."""
    usage = event.usage
    step = {
        "model": model(event), "messages": conversation(event, forms),
        "output": text_of_model(event) or failure(event) or "",
        "input_tokens": usage.input_tokens if usage else None, "output_tokens": usage.output_tokens if usage else None,
        "cost": micro_dollars(event.cost.total_usd if event.cost else None) if version == "v3" else None,
    }  # fmt: skip
    return without_nulls(step)


def retrieval_step(event: Event, version: Version, forms: Forms) -> Fields:
    """A retriever, a reranker or a tool."""
    inputs = event.inputs
    alone = inputs.get("query", inputs.get("input")) if isinstance(inputs, dict) else inputs
    known = isinstance(alone, str) and (event.kind is not TOOL or not isinstance(inputs, dict) or len(inputs) == 1)
    outputs = texts_out(event.outputs) or [text for text in (failure(event),) if text]
    source = event.name.strip() or str(event.kind)
    return {"source": source, "input": as_text(alone if known else inputs), "outputs": outputs}


def embedding_step(event: Event, version: Version, forms: Forms) -> Fields:
    """An embedding."""
    texts = event.inputs.get("texts") if isinstance(event.inputs, dict) else event.inputs
    tokens = event.usage.input_tokens if event.usage else None
    text = "\n".join(map(as_text, texts)) if isinstance(texts, list) else as_text(texts)
    return without_nulls({"model": model(event), "input": text, "input_tokens": tokens})


STEPS: Mapping[Kind, Callable[[Event, Version, Forms], Fields]] = {
    Kind.MODEL: model_step, Kind.EMBEDDING: embedding_step,
    **dict.fromkeys((Kind.TOOL, Kind.RETRIEVER, Kind.RERANKER), retrieval_step),
}  # fmt: skip


def texts_out(value: JsonValue) -> list[str]:
    """The outputs of a retriever or a tool as texts."""
    documents = value.get("documents") if isinstance(value, dict) else None
    if isinstance(documents, list):
        return [as_text(item.get("text", item) if isinstance(item, dict) else item) for item in documents]
    if value is None:
        return []
    return [words(value) if is_message(value) else as_text(value)]


def model(event: Event) -> str:
    """The model's name, else `unknown`, as in Nebuly's own client."""
    return (event.model or "").strip() or "unknown"


LARGEST_USD = 12
"""Power of ten of the largest amount; a larger one would overflow a reader's integers."""


def micro_dollars(usd: Decimal | None) -> int | None:
    """US dollars in whole millionths."""
    if usd is None or not usd.is_finite() or usd.adjusted() > LARGEST_USD:
        return None
    return max(int((usd * 1_000_000).to_integral_value(ROUND_HALF_UP)), 0)


# Tags and feedback


def tags(view: TreeView) -> dict[str, str]:
    """All facts about the tree that can be text. The user's own tags win over ours of the same name."""
    root = view.root
    known = {
        "tree_id": root.tree_id, "name": root.name, "environment": root.environment, "framework": root.framework,
        "status": root.status.value if root.status is not OK else None,
        "error": "true" if root.status is ERROR else None, "error_type": root.error.type if root.error else None,
        **{name: as_text(view.dataset_field(name)) for name in LINKS},
        **{f"score.{name}": as_text(score) for name, score in view.scores(root).items() if name != "score"},
    }  # fmt: skip
    asked = next((event.prompt for event in paced(view.tree.events) if event.prompt), {})
    known |= {f"prompt_{key}": as_text(asked.get(key)) for key in ("name", "version")}
    ours = {key: value for key, value in known.items() if value}
    return {**ours, **dotted(views.own_metadata(root)), **listed(root.tags)}


LINKS = ("datapoint_id", "dataset_id", "run_id", "experiment", "expected")
"""Links to a dataset that become tags."""


def listed(given: Iterable[str]) -> dict[str, str]:
    """A list of tags as a map: `k:v` → k, a bare one → "true"; several values of one key are joined."""
    found: dict[str, list[str]] = {}
    for tag in given:
        key, _, value = (part.strip() for part in tag.partition(":"))
        if key and value:
            found.setdefault(key, []).append(value)
        elif tag.strip():
            found.setdefault(tag.strip(), []).append("true")
    return {key: ", ".join(dict.fromkeys(values)) for key, values in found.items()}


def dotted(metadata: Mapping[str, JsonValue]) -> dict[str, str]:
    """Metadata as flat text, as in Nebuly's own converters: nested keys joined with dots, lists with commas."""
    found: dict[str, str] = {}
    pending = list(metadata.items())[::-1]
    while pending:
        key, value = pending.pop()
        if isinstance(value, dict):
            pending.extend((f"{key}.{inner}", each) for inner, each in list(value.items())[::-1])
        elif value is not None and key.strip():
            is_flat = isinstance(value, list) and not any(isinstance(item, list | dict) for item in value)
            found[key] = ", ".join(map(as_text, value)) if is_flat else as_text(value)
    return found


def feedback_items(given: Mapping[str, JsonValue]) -> list[Fields]:
    """A feedback as Nebuly's items: a score as a thumb, a comment, a correction as an edit."""
    rated = None if given.get("name") else views.number(given.get("score"))
    items: list[Fields] = [] if rated is None else [{"slug": "thumbs_up" if rated >= 0.5 else "thumbs_down"}]
    texts = (("comment", as_text(given.get("comment"))), ("edit", as_text(given.get("correction"))))
    return items + [{"slug": slug, "text": text} for slug, text in texts if text.strip()]
