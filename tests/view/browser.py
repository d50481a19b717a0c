"""A real Chromium in front of a real server: what the page says, asks and draws is watched, and must stay at home."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import pytest
import uvicorn

import eventtree.view

sync_api = pytest.importorskip("playwright.sync_api", reason="pip install 'eventtree[test-view]'")

TOKEN = "a-token-for-the-browser"
ARGUMENTS = (
    "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-background-networking",
    "--disable-component-update", "--disable-default-apps", "--disable-sync", "--no-first-run", "--mute-audio",
)  # fmt: skip


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, playwright's own is not needed. Without what draws windows it takes half the memory."""
    found = shutil.which("chromium-headless-shell") or shutil.which("chromium")
    if found is None:
        pytest.skip("no chromium here: apt-get install chromium-headless-shell")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(ARGUMENTS))
        yield browser
        browser.close()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """The address of an app, on a port of this machine."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        settings = uvicorn.Config(
            app, log_level="critical", access_log=False, lifespan="off", ws="none", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(10)


@dataclass
class Watched:
    """A page, and what it must never do."""

    page: Any
    address: str
    wrong: list[str] = field(default_factory=list)
    """Errors in the console, dialogs, requests to elsewhere."""

    def __post_init__(self) -> None:
        """Watch."""
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)

    def _said(self, said: Any) -> None:
        if said.type in ("error", "warning"):
            self.wrong.append(said.text)

    def _dialog(self, dialog: Any) -> None:
        self.wrong.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.address, "data:image/")):
            self.wrong.append(f"request: {request.url}")

    def open(self, place: str = "") -> Any:
        """Go there with the token; returns the page."""
        self.page.goto(f"{self.address}/?t={TOKEN}{place}")
        return self.page


@contextmanager
def watched(browser: Any, journal: Any, **context: Any) -> Iterator[Watched]:
    """A page in front of a journal; at the end nothing wrong may have been seen."""
    given = {"viewport": {"width": 1280, "height": 800}, **context}
    with served(eventtree.view.app(journal, token=TOKEN)) as address:
        place = browser.new_context(**given)
        try:
            one = Watched(place.new_page(), address)
            one.page.set_default_timeout(15_000)
            yield one
            assert one.wrong == [], one.wrong
        finally:
            place.close()


def axe() -> str:
    """The source of axe-core, which the package of its name for playwright brings."""
    return (resources.files("axe_playwright_python") / "axe.min.js").read_text()
