"""One sentence says what is wrong, in the page at once, as a graph and in App mode."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.browser.example_workflows import RESTORE_APP, RESTORE_VIDEO
from tests.browser.make_pictures import leave_welcome, view
from tests.browser.workflow_inputs import FOLDER

pytestmark = pytest.mark.slow
MISSING = ("2", "model", "vividface", "run the node Download VividFace Model once")
"""What is known before the run: node, input, value, and a part of the sentence."""
WRONG = ("3", "size", 504, "size is 504; it must be a multiple of 16")
"""What the node says as it begins."""


@pytest.mark.parametrize("workflow", [RESTORE_VIDEO, RESTORE_APP], ids=["graph", "app"])
@pytest.mark.parametrize("mistake", [MISSING, WRONG], ids=["before", "running"])
def test_the_sentence_is_seen_without_a_click(page, tmp_path, workflow, mistake):
    node, name, value, sentence = mistake
    page.page.reload()
    page.page.wait_for_function("() => window.app?.graph && window.app?.canvas", timeout=120_000)
    page.page.wait_for_timeout(3000)
    page.load_graph(json.loads((FOLDER / f"{workflow.title}.json").read_text(encoding="utf-8")))
    page.page.wait_for_timeout(1500)
    if workflow.app:
        leave_welcome(page)
    else:
        view(page)
    page.page.evaluate(
        "([node, name, value]) => {"
        " app.graph.getNodeById(Number(node)).widgets.find(one => one.name === name).value = value }",
        [node, name, value],
    )
    page.page.get_by_role("button", name="Run", exact=True).first.click()
    said = page.page.get_by_text(sentence)
    try:
        said.first.wait_for(timeout=30_000)
        page.page.wait_for_timeout(1500)  # it slides in
    finally:
        folder, kind = Path(os.environ.get("VIVIDFACE_ARTEFACTS") or tmp_path), "vue" if page.vue else "classic"
        page.screenshot(folder / f"error_{kind}_{workflow.name}_{name}.png")
    assert said.count() == 1, "and once"
