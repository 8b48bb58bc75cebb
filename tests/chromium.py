"""Pages in headless Chromium, and what they say and ask for. Tests that need it skip without it."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

playwright = pytest.importorskip(
    "playwright.sync_api", reason="playwright is not installed: pip install 'isthmus[dev]'"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
needed = pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine: install the system's chromium package"
)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]


@dataclass
class Watched:
    """A page, and what it said and asked for."""

    page: Any
    messages: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def heading(self, title: str) -> Any:
        """The button that sorts the table of domains by this column."""
        return self.page.locator("#domain-table thead").get_by_role(
            "button", name=title, exact=True
        )


@contextmanager
def launched() -> Iterator[Any]:
    """A browser."""
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


@contextmanager
def profiles(browser: Any, patience: float) -> Iterator[Callable[..., Any]]:
    """What opens a fresh profile of the browser; it waits for things so many milliseconds."""
    contexts: list[Any] = []

    def fresh(**options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        contexts.append(context)
        context.set_default_timeout(patience)
        return context

    yield fresh
    for context in contexts:
        context.close()
