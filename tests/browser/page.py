"""ComfyUI's real page in a headless Chromium, driven by Playwright."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tests.comfyui.server import ComfyServer
from tests.environment.browser import BROWSERS

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
SETTINGS = {
    "Comfy.TutorialCompleted": True,  # else the templates dialog covers the graph
    "Comfy.Workflow.ShowMissingNodesWarning": True,
    "Comfy.Workflow.ShowMissingModelsWarning": False,
}


def browser_path() -> str:
    """The installed Chromium.

    Raises:
        FileNotFoundError: none is installed; says how to get one.
    """
    for name in BROWSERS:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError("No Chromium is installed; on Debian: apt-get install chromium")


class ComfyPage:
    """The page of a running server; on entering it is loaded, on leaving the browser is closed.

    Attributes:
        page: Playwright's page.
        errors: what the page reported as errors on its console, and uncaught exceptions.
    """

    def __init__(self, server: ComfyServer, *, width: int = 1600, height: int = 1000, language: str = "en") -> None:
        self.server, self._size, self._language = server, {"width": width, "height": height}, language
        self.errors: list[str] = []

    def __enter__(self) -> ComfyPage:
        from playwright.sync_api import sync_playwright

        self.server.post("/settings", {**SETTINGS, "Comfy.Locale": self._language})
        self._driver = sync_playwright().start()
        self._browser = self._driver.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
        self.page = self._browser.new_page(viewport=self._size)
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(said.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(self.server.address, timeout=120_000)
        self.page.wait_for_function("() => window.app?.graph && window.app?.canvas", timeout=120_000)
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._driver.stop()

    def load_graph(self, graph: dict[str, Any]) -> None:
        """Open a workflow as the Open menu does."""
        self.page.evaluate("graph => window.app.loadGraphData(graph)", graph)

    def load_api(self, prompt: dict[str, Any]) -> None:
        """Open an API workflow; the page lays it out."""
        self.page.evaluate("prompt => window.app.loadApiJson(prompt, 'workflow')", prompt)

    def graph(self) -> dict[str, Any]:
        """The open workflow as it would be saved."""
        # As JSON: what is undefined would come back as null and count as a value.
        return json.loads(self.page.evaluate("() => JSON.stringify(window.app.graph.serialize())"))

    def to_api(self) -> dict[str, Any]:
        """The open workflow as it would be queued."""
        return self.page.evaluate("async () => (await window.app.graphToPrompt()).output")

    def missing_nodes(self) -> list[str]:
        """Types of nodes that the page doesn't know."""
        return self.page.evaluate(
            "() => window.app.graph._nodes.filter(n => n.has_errors || !LiteGraph.registered_node_types[n.type])"
            ".map(n => n.type)"
        )

    def press_run(self) -> str:
        """Press the Run button; returns the prompt's id."""

        def is_it(answer: Any) -> bool:
            return answer.url.endswith("/prompt") and answer.request.method == "POST"

        with self.page.expect_response(is_it, timeout=120_000) as caught:
            self.page.get_by_role("button", name="Run", exact=True).first.click()
        answer = caught.value.json()
        if "prompt_id" not in answer or answer.get("node_errors"):
            raise ValueError(str(answer))
        return answer["prompt_id"]

    def run(self, timeout: float = 300.0) -> dict[str, Any]:
        """Press Run and wait; returns the history entry."""
        entry = self.server.wait(self.press_run(), timeout)
        self.page.wait_for_timeout(500)  # the page hears of it a moment later
        return entry

    def fit(self) -> None:
        """Bring the whole graph into view."""
        self.page.evaluate("() => { window.app.canvas.ds.reset(); }")
        self.page.keyboard.press(".")
        self.page.wait_for_timeout(600)

    def screenshot(self, path: Path) -> Path:
        """What is seen now, as PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=str(path))
        return path
