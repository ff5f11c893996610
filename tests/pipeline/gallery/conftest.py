"""A headless Chromium for the tests marked `browser`; they are skipped where there is none."""

import functools
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--headless=new", "--no-sandbox", "--enable-unsafe-swiftshader"]
"""Software GL: a page of tests needs no graphics card."""

OpenPage = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("needs chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def served() -> Iterator[Callable[[Path], str]]:
    """Serves a directory on this machine, as any static server would; gives its address."""
    with ExitStack() as stack:

        def serve(directory: Path) -> str:
            handler = functools.partial(_Quiet, directory=str(directory))
            server = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            return f"http://127.0.0.1:{server.server_port}"

        yield serve


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Opens a gallery and waits until all of it is loaded. At the end no page may have complained,
    nor asked for anything outside its own directory."""
    troubles: list[str] = []
    with ExitStack() as stack:

        def opened(address: str, *, fragment: str = "", **options: Any) -> Page:
            options = {"viewport": {"width": 1200, "height": 800}} | options
            options.setdefault("reduced_motion", "reduce")
            context = browser.new_context(**options)
            stack.callback(context.close)
            page = context.new_page()
            home = address.rpartition("/")[0] if address.endswith(".html") else address

            def asked(url: str) -> None:
                if not url.startswith((f"{home}/", f"blob:{home}", "blob:null/")):
                    troubles.append(f"asked for {url}")

            page.on("request", lambda request: asked(request.url))
            page.on("pageerror", lambda error: troubles.append(f"error {error}"))
            page.on("dialog", lambda dialog: troubles.append(f"dialog {dialog.message}"))
            page.on(
                "console",
                lambda said: troubles.append(said.text) if said.type == "error" else None,
            )
            page.goto(f"{address}{'' if address.endswith('.html') else '/'}{fragment}")
            page.wait_for_function("() => performance.getEntriesByName('loaded').length")
            return page

        yield opened
    assert troubles == []
