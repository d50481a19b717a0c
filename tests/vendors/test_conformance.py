"""One suite over all vendors: what issue and contract ask of each of them, in every generation and dialect."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from eventtree import config
from eventtree.errors import ConfigError
from eventtree.event import EventTree, Usage
from eventtree.kinds import Kind
from eventtree.serializer.packing import request, waves
from eventtree.serializer.requests import Request, Verdict
from eventtree.serializer.serialize import serialize
from eventtree.serializer.vendor import Vendor
from eventtree.testing import VendorServer
from eventtree.testing.contracts.contract import Options
from eventtree.vendors import VENDORS, vendor_class
from tests.vendors import judges
from tests.vendors.everything import LEARNED, SAID
from tests.vendors.goldens import hold_bodies_against_golden
from tests.vendors.trees import (
    FEEDBACK,
    ODD,
    ODD_FIELDS,
    ODD_TIMES,
    ROOT,
    bounded,
    chain_root,
    chat_model,
    event,
    ident,
    rich_tree,
    tree_of,
    trees,
    wide_tree,
)

PROJECT = "5eed0000-0000-4000-8000-00000000beef"
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("honeyhive", {}),
    ("honeyhive", {"generation": "v1"}),
    ("humanloop_v5", {}),
    ("humanloop_v5", {"dialect": "trace_status", "provider_payloads": True, "save": False}),
    ("humanloop_v4", {"provider_payloads": True, "save": False}),
    ("braintrust", {"project_id": PROJECT}),
    ("nebuly", {}),
    ("otlp", {"scores": "logs"}),
    *(("otlp", {"flavor": flavor}) for flavor in ("openinference", "langfuse", "langsmith", "mlflow")),
    ("nebuly", {"version": "v3", "feature_flags": ("a",), "hide_content": True}),
]
SHOWN = ("generation", "dialect", "version", "flavor")
NAMES = ["_".join((kind, *(str(how[key]) for key in SHOWN if key in how))) for kind, how in VARIANTS]
every_variant = pytest.mark.parametrize(("kind", "settings"), VARIANTS, ids=NAMES)
EVENTS = 10_000


def vendor(kind: str, settings: dict[str, Any]) -> Vendor:
    return vendor_class(kind).for_export(**settings)


def options(settings: dict[str, Any]) -> Options:
    return Options(settings.get("dialect", "log_status"), braintrust_projects=frozenset({PROJECT}))


@pytest.mark.parametrize("kind", [kind for kind in VENDORS if vendor_class(kind).needs_key])
def test_a_missing_key_names_its_variable(kind: str) -> None:
    with pytest.raises(ConfigError, match=vendor_class(kind).env["api_key"][0]):
        vendor_class(kind)()


@pytest.mark.parametrize("kind", VENDORS)
def test_a_variable_of_a_vendor_is_no_misspelt_one(kind: str) -> None:
    named = {name for names in vendor_class(kind).env.values() for name in names if name.startswith(config.PREFIX)}
    assert named <= config.VARIABLES


@pytest.mark.parametrize("kind", VENDORS)
def test_a_wrong_setting_is_named(kind: str) -> None:
    with pytest.raises(ConfigError, match="api_kye"):
        vendor_class(kind)(api_key="k", api_kye="k")


@every_variant
def test_a_rich_tree_keeps_to_the_contract(kind: str, settings: dict[str, Any]) -> None:
    one = vendor(kind, settings)
    assert judges.problems(one, judges.check_encoding(one, rich_tree()), options(settings)) == []


@every_variant
def test_the_tree_read_again_makes_the_same_requests(kind: str, settings: dict[str, Any]) -> None:
    again = EventTree.model_validate_json(rich_tree().model_dump_json())
    first, second = (vendor(kind, settings).encode(tree) for tree in (rich_tree(), again))
    assert first == second


@every_variant
def test_an_agents_messages_are_the_same_whether_its_steps_share_them_or_not(
    kind: str, settings: dict[str, Any]
) -> None:
    """The fold puts one object wherever records repeat a message; a tree that was read again has one for each place."""
    history: list[Any] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Go on."}]
    steps = []
    for number in range(2, 10):
        call = {"id": f"call_{number}", "name": "look_up", "arguments": {"number": number}}
        asked, answer = list(history), {"role": "assistant", "content": "", "tool_calls": [call], "reasoning": "hm"}
        steps.append(chat_model(number, inputs={"messages": asked}, outputs={"messages": [answer]}))
        history += [answer, {"role": "tool", "content": f"number {number}", "tool_call_id": call["id"]}]
    tree = tree_of(chain_root(inputs={"messages": history[:2]}, outputs={"messages": history}), *steps)
    again = EventTree.model_validate_json(tree.model_dump_json())
    assert vendor(kind, settings).encode(tree) == vendor(kind, settings).encode(again)


@every_variant
def test_ten_thousand_events_go_out_in_right_sized_requests_parents_first(kind: str, settings: dict[str, Any]) -> None:
    one, tree = vendor(kind, settings), wide_tree(EVENTS)
    requests = list(serialize([tree], one))
    place = {event_id: at for at, made in enumerate(requests) for event_id in made.ids}
    if kind != "nebuly":
        assert len(place) == EVENTS
        assert all(place[each.parent_id] <= place[each.id] for each in tree.events[1:] if each.parent_id)
    assert all(len(made.content) <= one.max_bytes + 1_000 for made in requests)
    assert all(len(made.items) <= one.routes[made.items[0].route].max_items for made in requests)


@every_variant
def test_feedback_that_comes_late_is_golden(kind: str, settings: dict[str, Any]) -> None:
    one, tree = vendor(kind, settings), rich_tree()
    given = [
        {**SAID, "score": True},
        {**SAID, "key": "1f3f77fc-4d1c-4f3e-8f6e-0c6f8d2b8a10", "id": ident(6), "score": 0.25, "name": "fit"},
        {**SAID, "key": "2f3f77fc-4d1c-4f3e-8f6e-0c6f8d2b8a10", "id": ident(7)},
    ]
    made = [request((item,), one) for said in given for item in one.encode_feedback(said, tree, LEARNED).items]
    name = "_".join(["feedback", *(str(settings[key]) for key in SHOWN if key in settings)])
    hold_bodies_against_golden(f"{kind}/{name}.json", made)


@given(tree=trees(), said=FEEDBACK)
def test_any_tree_gives_valid_requests_and_so_does_feedback_on_it(tree: EventTree, said: dict[str, Any]) -> None:
    tree = bounded(tree)
    told = {**said, "key": SAID["key"], "at": SAID["at"], "tree": tree.id}
    found = {}
    for name, (kind, settings) in zip(NAMES, VARIANTS, strict=True):
        one = vendor(kind, settings)
        found[name] = wrong_in(one, judges.check_encoding(one, tree), told, tree, options(settings))
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@every_variant
def test_ids_that_are_no_uuids_keep_to_the_contract(kind: str, settings: dict[str, Any]) -> None:
    """LangChain takes any `run_id` that an app gives, and HoneyHive UUIDs alone."""
    names = ["nightly", "a b/c?d#{e}%", "5EED0000-0000-4000-8000-0000000000AF", "5eed00000000400080000000000000ff", "ö"]
    whole = [chain_root(user="ada"), chat_model(2), event(3, 2), event(4, 3, kind=Kind.TOOL), event(5, 1)]
    given = {ident(number): name for number, name in enumerate(names, 1)} | {None: None}
    tree = tree_of(
        *(
            one.model_copy(update={"id": given[one.id], "parent_id": given[one.parent_id], "tree_id": names[0]})
            for one in whole
        )
    )
    one = vendor(kind, settings)
    said = {**SAID, "id": names[1], "tree": names[0]}
    assert wrong_in(one, judges.check_encoding(one, tree), said, tree, options(settings)) == []


@given(tree=trees(max_events=3, fields=ODD_FIELDS), said=FEEDBACK, at=ODD_TIMES, odd=ODD)
def test_no_tree_and_no_feedback_makes_a_vendor_raise(tree: EventTree, said: dict[str, Any], at: int, odd: Any) -> None:
    """Times at both ends of the calendar, values as deep as a journal's and deeper, numbers that no float holds."""
    given = {**said, "key": SAID["key"], "at": at, "tree": tree.id, "metadata": {"odd": odd}, "correction": odd}
    for kind, settings in VARIANTS:
        one = vendor(kind, settings)
        judges.check_encoding(one, tree)
        for item in (
            *one.encode_update(tree, [one_event.id for one_event in tree.events]),
            *one.encode_feedback(given, tree, LEARNED).items,
            *one.encode_feedback(given, None, LEARNED).items,
        ):
            assert request((item,), one).body is not None, (kind, settings)


def wrong_in(one: Vendor, sent: list[Request], said: dict[str, Any], tree: EventTree, how: Options) -> list[str]:
    """What the rules find wrong with a tree's requests and with feedback that follows them."""
    learned: dict[str, str] = {}

    def then() -> Iterator[Request]:
        yield from sent
        ended = one.encode_update(tree, [event.id for event in tree.events])
        yield from (request(group, one) for wave in waves(ended, one) for group in wave)
        yield from (request((item,), one) for item in one.encode_feedback(said, tree, learned).items)

    return judges.problems(one, then(), how, learned)


@pytest.mark.parametrize("kind", VENDORS)
def test_sending_twice_is_harmless_or_said_not_to_be(kind: str) -> None:
    with VendorServer() as server:
        one = vendor_class(kind)(**server.settings(kind))
        tree = rich_tree()
        for _ in range(2):
            judges.post_all(server, one, [tree], {})
        assert len(set(server.event_ids(kind))) == (1 if kind == "nebuly" else 12)
        assert server.repeats(kind).changed == 0
    assert one.idempotent is (kind != "nebuly")


@pytest.mark.parametrize("kind", VENDORS)
def test_what_can_hold_a_place_has_one(kind: str) -> None:
    """Session, user, tags, metadata and scores of a root stand in what is sent for it."""
    marked = chain_root(
        session_id="the session", user="the user", tags=("the tag",),
        metadata={"own": "the value", "eventtree_scores": {"exact": 0.125}},
    )  # fmt: skip
    sent = json.dumps([made.body for made in serialize([tree_of(marked)], vendor(kind, {}))])
    for mark in ("the session", "the user", "the tag", "the value"):
        assert mark in sent
    assert "0.125" in sent


@pytest.mark.parametrize("kind", VENDORS)
def test_what_is_known_of_tokens_and_has_no_field_stands_beside_them(kind: str) -> None:
    """Fees, details, marks and contradictions. Nebuly has no place for any of them."""
    usage = Usage(
        input_tokens=7, output_tokens=5, total_tokens=12, cache_read_tokens=3, input_image_tokens=2,
        units={"web_searches": 41}, inferred=True, service_tier="flex", problems=("the problem",),
    )  # fmt: skip
    sent = json.dumps([made.body for made in serialize([tree_of(chat_model(1, None, usage=usage))], vendor(kind, {}))])
    for mark in ("web_searches", "41", "flex", "the problem", "inferred", "input_image_tokens"):
        assert (mark in sent) is (kind != "nebuly"), mark


@pytest.mark.parametrize("kind", VENDORS)
def test_both_names_of_a_model_are_sent(kind: str) -> None:
    """As it was asked for, and as it answered. Nebuly has a place for the second alone."""
    asked = chat_model(1, None, model="gpt-4o-2024-08-06", asked_model="gpt-4o-latest", user="ada")
    sent = json.dumps([made.body for made in serialize([tree_of(asked)], vendor(kind, {}))])
    assert "gpt-4o-2024-08-06" in sent
    assert ("gpt-4o-latest" in sent) is (kind != "nebuly")


@pytest.mark.parametrize("kind", VENDORS)
@pytest.mark.parametrize("said", [["user", "Why tides?"], ["human", "Why tides?"], "Why tides?"])
def test_short_forms_of_messages_are_messages(kind: str, said: Any) -> None:
    """LangGraph takes `{"messages": [("user", "…")]}` and `{"messages": ["…"]}`."""
    root = chain_root(inputs={"messages": [["system", "Be brief."], said]}, outputs=None)
    bodies = [made.body for made in serialize([tree_of(root)], vendor(kind, {}))]
    if kind == "nebuly":
        assert bodies[0]["interaction"]["input"] == "Why tides?"
    else:
        said_anywhere = str(bodies).replace('"', "'").replace("':'", "': '")  # OTLP has JSON within JSON
        assert "'role': 'user'" in said_anywhere
        assert "'role': 'system'" in said_anywhere


@every_variant
@pytest.mark.parametrize("odd", [["x"], {"a": 1}, [], {}, None, 5])
def test_a_part_of_any_type_is_content(kind: str, settings: dict[str, Any], odd: Any) -> None:
    """An app's own parts are what they are, and cost no vendor the tree."""
    parts = [{"type": odd, "text": "Why tides?"}, {"type": "image", "url": odd}, {"type": "image", "sha256": odd}]
    said: Any = {"messages": [{"role": role, "content": parts} for role in ("user", "assistant", "tool")]}
    kinds = [event(at, kind=one, inputs=said, outputs=said) for at, one in enumerate(Kind, 2)]
    sent = json.dumps([made.body for made in serialize([tree_of(chain_root(), *kinds)], vendor(kind, settings))])
    assert "Why tides?" in sent


@pytest.mark.parametrize("kind", VENDORS)
def test_late_parts_of_a_long_tree_name_their_parents(kind: str) -> None:
    """A vendor that `accepts_updates` gets what comes after its tree went out, hung where it belongs."""
    one = vendor(kind, {})
    if not one.accepts_updates:
        return
    late = tree_of(event(30, 2, tree_id=ROOT))
    (part,) = [item for item in one.encode(late).items if item.event_ids]
    assert ident(2) in part.content.decode()


@pytest.mark.parametrize("kind", VENDORS)
def test_the_first_event_of_a_late_part_is_no_root(kind: str) -> None:
    """LangChain hands a root's metadata down: the ties to a dataset that a late child bears are its root's."""
    one = vendor(kind, {})
    if not one.accepts_updates:
        return
    handed_down = {**chain_root().metadata, "eventtree_caller": {"function": "main"}}
    late = event(30, 2, tree_id=ROOT, metadata=handed_down, tags=("late tag",))
    (part,) = [item for item in one.encode(tree_of(late)).items if item.event_ids]
    sent = part.content.decode()
    for mark in ("row-3", "set-1", "run-9", "The moon.", "exact", "caller"):
        assert mark not in sent
    assert "late tag" in sent
    assert part.route in ("events", "logs")


@pytest.mark.parametrize("odd", ["x\ny", "", " ", "a/b", "{project_id}", "é", "x" * 300, 7, None, ["id"]])
def test_an_id_that_can_be_none_is_not_learned(odd: Any) -> None:
    reply = {"id": odd}
    assert [lookup.read(reply) for lookup in vendor("braintrust", {}).lookups()] == [None]
    v4 = vendor("humanloop_v4", {})
    (made,) = serialize([tree_of(chain_root(metadata={}))], v4)
    assert v4.read_reply(made, 200, json.dumps([reply]).encode()) == Verdict(verified=False)
    assert v4.read_reply(made, 200, b'[{"id": "data_1"}]') == Verdict(learned={f"data_id:{ROOT}": "data_1"})
