"""F22, R10: no canary reaches disk, wire, logs or errors of a whole run; the API key reaches the wire's header only."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from langchain_core.callbacks import dispatch_custom_event
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from eventtree import flush
from eventtree.content import known_secrets, masking
from eventtree.errors import EventTreeError
from eventtree.langchain import CallbackHandler
from eventtree.testing import Answer, VendorServer
from eventtree.vendors import Braintrust, HoneyHive
from tests.content.test_redact import SECRETS, TOLD

KEY = "our-own-key-0123456789abcdef"
MAILS = [f"person{number}@canary-{number}.example" for number in range(4)]
CANARIES = {
    **{text: text.rsplit("/", 1)[-1] for text in SECRETS.values()},
    **{text: secret for text, secret in TOLD.values() if len(secret) >= 8},
    **{f"write to {mail} now": mail for mail in MAILS},
}
"""Text in which a secret stands → the secret."""


@tool
def fetch(url: str) -> str:
    """Fetch."""
    raise RuntimeError(f"cannot reach {url}")


def run(handler: CallbackHandler, text: str) -> None:
    """A chain with a model, a failing tool, a document, tags, names and metadata that all hold the text."""
    model = GenericFakeChatModel(messages=iter([AIMessage(f"you said {text}")]))

    def work(question: dict[str, Any], config: Any) -> Any:
        model.invoke(question["text"], config=config)
        try:
            fetch.invoke({"url": text}, config=config)
        except RuntimeError:
            pass
        return [Document(text, metadata={"file": f"dir/{text}", "nested": [{"x": text}]})]

    config: Any = {"callbacks": [handler], "tags": [text], "metadata": {"note": text}, "run_name": f"run {text}"}
    RunnableLambda(work).invoke({"text": text, "env": {"SOME_VAR": text}}, config=config)


def test_f22_sixty_canaries_reach_neither_disk_nor_wire_nor_logs(
    own_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """F22, R10"""
    assert len(CANARIES) >= 60
    caplog.set_level(logging.DEBUG)
    with VendorServer(key=KEY) as server:
        vendors = [Braintrust(**server.settings("braintrust")), HoneyHive(**server.settings("honeyhive"))]
        handler = CallbackHandler(vendors=vendors, redact=known_secrets(email=True))
        for text in CANARIES:
            run(handler, text)
        report = flush(30)
        assert report.settled, report
        wire = repr([one.body for one in server.requests])
        disk = b"".join(path.read_bytes() for path in own_place.iterdir() if path.is_file()).decode("utf-8", "replace")
        logs = "\n".join([caplog.text, *(repr(entry.args) for entry in caplog.records)])
        places = {"disk": disk, "wire": wire, "logs": logs, "repr": repr(handler) + repr(report)}
        found = [(place, secret) for secret in CANARIES.values() for place, text in places.items() if secret in text]
        print(f"{len(CANARIES)} canaries, {len(found)} found")
        assert found == []
        assert not [place for place, text in places.items() if KEY in text]
        assert all(KEY in repr(one.headers) for one in server.requests)


def test_f22_the_key_is_in_no_error_and_no_traceback() -> None:
    """F22: a vendor whose other settings are wrong."""
    try:
        Braintrust(api_key=KEY, base_url="http://example.com", wrong="x")
    except EventTreeError as error:
        assert KEY not in "".join(traceback.format_exception(error))
    vendor = Braintrust(api_key=KEY, base_url="http://127.0.0.1:9")
    assert KEY not in repr(vendor) + str(vendor) + vendor.model_dump_json()


def test_f22_a_redactor_that_raises_lets_nothing_through_and_keeps_the_event(
    own_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """F22: it fails closed, and is said once."""

    def broken(text: str) -> str:
        raise RuntimeError(text)

    with VendorServer() as server:
        handler = CallbackHandler(vendors=[Braintrust(**server.settings("braintrust"))], redact=broken)
        run(handler, "canary-text-123")
        report = flush(10)
        assert report.settled
        assert len(server.event_ids("braintrust")) == 3
        disk = b"".join(path.read_bytes() for path in own_place.iterdir() if path.is_file())
        assert b"canary" not in disk
        assert "canary" not in repr([one.body for one in server.requests])
        assert report.failures["redact: RuntimeError"] > 1
        assert sum("redact: RuntimeError" in said for said in caplog.messages) == 1
        assert "canary" not in caplog.text


def test_content_off_keeps_structure_but_no_inputs_and_outputs(
    own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """EVENTTREE_CONTENT=off, from the chain to the wire."""
    monkeypatch.setenv("EVENTTREE_CONTENT", "off")
    with VendorServer() as server:
        handler = CallbackHandler(vendors=[Braintrust(**server.settings("braintrust"))])
        model = GenericFakeChatModel(messages=iter([AIMessage("secret answer")]))
        chain = RunnableLambda(lambda question: question) | model
        chain.invoke("secret question", config={"callbacks": [handler]})
        assert flush(10).settled
        rows = server.events("braintrust")
        assert len(rows) >= 2
        assert not any(row.get("input") or row.get("output") for row in rows)
        assert all(row["metrics"]["end"] >= row["metrics"]["start"] for row in rows)
        assert b"secret" not in b"".join(path.read_bytes() for path in own_place.glob("*.log"))


def test_content_off_leaves_nothing_of_it_in_errors_notes_and_documents(
    own_place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error's message quotes the arguments, a custom event is an output: types, places and figures stay."""
    monkeypatch.setenv("EVENTTREE_CONTENT", "off")
    with VendorServer() as server:
        handler = CallbackHandler(vendors=[Braintrust(**server.settings("braintrust"))])

        def work(text: str, config: Any) -> Any:
            dispatch_custom_event("progress", {"seen": text, "share": 0.5}, config=config)
            try:
                fetch.invoke({"url": text}, config=config)
            except RuntimeError:
                pass
            return [Document(text, metadata={"file": text})]

        RunnableLambda(work).invoke("canary", config={"callbacks": [handler]})
        assert flush(10).settled
        written = b"".join(path.read_bytes() for path in own_place.iterdir() if path.is_file())
        assert b"canary" not in written
        assert b'"type":"RuntimeError","message":"[content is off]"' in written
        assert b'"value":{"share":0.5}' in written
        assert "canary" not in repr([one.body for one in server.requests])


@pytest.mark.parametrize("spell", [str, quote, lambda key: "".join(f"\\u{ord(one):04x}" for one in key)])
def test_a_key_that_a_vendor_echoes_reaches_neither_disk_nor_log(
    spell: Any, own_place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """In its words, and where an id was looked for."""
    key = "odd/key+0123 456789".replace(" ", "=")
    for answer in ([Answer(200, {"id": spell(key)})] * 3, [200, *[Answer(400, {"error": spell(key) * 60})] * 20]):
        with VendorServer() as server:
            server.script("braintrust", answer)
            handler = CallbackHandler(vendors=[Braintrust(**{**server.settings("braintrust"), "api_key": key})])
            RunnableLambda(str).invoke("x", {"callbacks": [handler]})
            report = flush(1)
            handler.pipeline.shipper.stop()
        disk = b"".join(path.read_bytes() for path in own_place.iterdir() if path.is_file()).decode("utf-8", "replace")
        for text in (disk, caplog.text, report.model_dump_json()):
            assert masking(key)(text) == text
