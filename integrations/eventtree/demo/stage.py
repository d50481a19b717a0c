"""The demo's surroundings: vendors that all lead to one loopback server, and an environment without settings."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eventtree.testing import Received, VendorServer
from eventtree.vendors import Braintrust, HoneyHive, HumanloopV4, HumanloopV5, Nebuly, Vendor

PROJECT = "eventtree-demo"
OURS = ("EVENTTREE_", "LANGSMITH_", "LANGCHAIN_")
"""Prefixes of environment variables that would change the recording, or send it elsewhere too."""
SHOWN = ("honeyhive", "humanloop_v5", "humanloop_v4", "braintrust", "nebuly")
"""The vendors of the demo."""
KEPT_HEADERS = ("content-type", "user-agent")


@contextmanager
def quiet_environment() -> Iterator[None]:
    """Remove our settings and other tracers' from the environment while the block runs."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith(OURS)}
    try:
        yield
    finally:
        os.environ.update(hidden)


def vendors_at(server: VendorServer) -> tuple[Vendor, ...]:
    """All five vendors, with every setting, so that none is taken from the environment."""
    at: dict[str, dict[str, Any]] = {kind: dict(server.settings(kind)) for kind in SHOWN}
    return (
        HoneyHive(project=PROJECT, source="demo", **at["honeyhive"]),
        HumanloopV5(project=PROJECT, **at["humanloop_v5"]),
        HumanloopV4(project=PROJECT, **at["humanloop_v4"]),
        Braintrust(project=PROJECT, project_id="", org_name="", **at["braintrust"]),
        Nebuly(**at["nebuly"]),
    )


def write_requests(server: VendorServer, folder: Path) -> None:
    """One JSON file for each vendor: its requests in order of arrival, without keys."""
    folder.mkdir(parents=True, exist_ok=True)
    for vendor in {received.vendor for received in server.requests}:
        requests = [_plain(received) for received in server.requests if received.vendor == vendor]
        text = json.dumps(requests, ensure_ascii=False, indent=2)
        (folder / f"{vendor or 'unknown'}.json").write_text(f"{text}\n", encoding="utf-8")


def counts(server: VendorServer) -> dict[str, tuple[int, int]]:
    """Vendor → requests the server took, requests it refused."""
    refused = Counter(received.vendor for received in server.requests if received.problem)
    sent = Counter(received.vendor for received in server.requests)
    return {vendor: (count - refused[vendor], refused[vendor]) for vendor, count in sent.items()}


def _plain(received: Received) -> dict[str, Any]:
    body = received.body
    return {
        "method": received.method,
        "path": received.path,
        "headers": {name: received.headers[name] for name in KEPT_HEADERS if name in received.headers},
        "body": body.decode(errors="replace") if isinstance(body, bytes) else body,
        "answered": received.status,
        "refused": received.problem,
    }
