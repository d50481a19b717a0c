"""Who judges the requests in tests: the contract's rules, and a loopback server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from urllib.parse import parse_qsl

import httpx

from eventtree.event import EventTree
from eventtree.serializer.formats import JSON
from eventtree.serializer.requests import Request
from eventtree.serializer.serialize import serialize
from eventtree.serializer.vendor import Vendor
from eventtree.testing import VendorServer
from eventtree.testing.contracts import CONTRACTS
from eventtree.testing.contracts.contract import Call, Options, Refusal


def problems(
    vendor: Vendor, requests: Iterable[Request], options: Options | None = None, learned: dict[str, str] | None = None
) -> list[str]:
    """What the contract's rules find wrong with requests sent in this order; an answer is read as delivery would.

    `learned` fills with what answers teach.
    """
    rules = CONTRACTS[vendor.kind]
    state = rules.state(options or Options())
    found = []
    for request in requests:
        path, _, query = (rules.base + request.url.removeprefix(vendor.base_url)).partition("?")
        handle, args = next(
            (route.handle, match.groupdict())
            for route in rules.routes
            if (match := re.fullmatch(re.sub(r"<(\w+)>", r"(?P<\1>[^/]+)", route.path), path))
            and route.method == request.method
        )
        try:
            reply = handle(Call(request.body, args, dict(parse_qsl(query)), ""), state)
        except Refusal as refusal:
            found.append(str(refusal))
            continue
        found += [reply.problem] if reply.problem else []
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        verdict = vendor.read_reply(request, reply.status, content)
        assert verdict is not None
        assert verdict.verified
        assert not verdict.refused
        assert bool(verdict.retry) == bool(reply.problem)
        if learned is not None:
            learned.update(verdict.learned)
    return found


def check_encoding(vendor: Vendor, tree: EventTree) -> list[Request]:
    """What holds for every vendor that sends each event once: nothing lost, nothing twice, within limits, stable."""
    encoded = vendor.encode(tree)
    sent = [event_id for item in encoded.items for event_id in item.event_ids]
    assert sorted([*sent, *encoded.dropped]) == sorted(event.id for event in tree.events)
    keys = [item.key for item in encoded.items]
    assert len(set(keys)) == len(keys)
    assert vendor.encode(tree) == encoded
    requests = list(serialize([tree], vendor))
    for request in requests:
        if request.format is JSON:
            json.loads(request.content, parse_constant=lambda name: 1 / 0)
        assert len(request.items) <= vendor.routes[request.items[0].route].max_items
    return requests


def post_all(server: VendorServer, vendor: Vendor, trees: Iterable[EventTree], learned: dict[str, str]) -> None:
    """Post everything `serialize` yields over loopback, after the lookups."""
    with httpx.Client(headers=vendor.auth()) as client:
        for lookup in vendor.lookups():
            content = lookup.content.decode()
            for name, value in learned.items():
                content = content.replace("{" + name + "}", value)
            answer = client.request(
                lookup.method,
                vendor.base_url + lookup.path,
                content=content,
                headers={"Content-Type": "application/json"},
            )
            learned[lookup.name] = lookup.read(answer.json()) or ""
        for request in serialize(trees, vendor):
            url = request.url
            for name, value in learned.items():
                url = url.replace("{" + name + "}", value)
            answer = client.request(request.method, url, content=request.content, headers=request.headers)
            verdict = vendor.read_reply(request, answer.status_code, answer.content)
            assert verdict is not None and verdict.verified and not verdict.retry, answer.text
    assert not server.refused
