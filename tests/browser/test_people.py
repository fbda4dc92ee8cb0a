"""People chosen by a click on their pictures in Face Mask."""

from __future__ import annotations

import pytest

from tests.assets import two_people_in_four_shots
from tests.browser.make_pictures import view
from tests.browser.page import ComfyPage
from tests.comfyui.prompts import LOAD, MASK, node

pytestmark = pytest.mark.slow
FILE = "two_people.mp4"
GRAPH = {
    "1": node("VividFaceVideoLoad", **{**LOAD, "file": FILE}),
    "2": node("VividFaceFaceMask", source=["1", 0], **{**MASK, "faces": "largest"}, people=""),
    "3": node("MaskPreview", mask=["2", 0]),
}


@pytest.fixture(scope="module")
def film(server) -> None:
    two_people_in_four_shots(server.folder / "input" / FILE, 9)


def pressed(page: ComfyPage) -> list[str | None]:
    return [one.get_attribute("aria-pressed") for one in page.page.locator(".vf-person").all()]


def inputs(page: ComfyPage) -> dict:
    return next(made["inputs"] for made in page.to_api().values() if made["class_type"] == "VividFaceFaceMask")


def own_values(page: ComfyPage) -> list:
    """Of the node's inputs; cards are none of them."""
    return page.page.evaluate(
        "() => app.graph._nodes.find(one => one.comfyClass === 'VividFaceFaceMask').widgets"
        ".filter(one => one.serialize !== false).map(one => one.value)"
    )


def test_a_click_chooses_a_person(page, server, film):
    server.free()  # what comes out of the cache tells the page nothing
    page.load_api(GRAPH)
    page.page.wait_for_timeout(1500)
    view(page)
    assert page.page.get_by_text("After a run the people").first.is_visible()
    assert page.run()["status"]["status_str"] == "success"
    cards = page.page.locator(".vf-person")
    cards.first.wait_for(timeout=20_000)
    view(page)
    assert pressed(page) == ["false", "false"] and page.page.get_by_text("Everyone is taken").first.is_visible()
    (saved,) = [one for one in page.graph()["nodes"] if one["type"] == "VividFaceFaceMask"]
    assert saved["widgets_values"] == own_values(page), "cards aren't saved"

    assert all(card.bounding_box()["height"] > 50 for card in cards.all())
    assert page.page.locator(".vf-people-cards").bounding_box()["height"] > 100, "cards are to be seen"
    cards.nth(1).click()
    assert pressed(page) == ["false", "true"]
    # One input alone may choose, so the other one is set back.
    assert (inputs(page)["people"], inputs(page)["faces"]) == ("2", "all")
    assert page.run()["status"]["status_str"] == "success"
    assert pressed(page) == ["false", "true"], "the same people after the run"

    cards.nth(0).click()
    assert inputs(page)["people"] == "1,2"
    for number in (0, 1):
        cards.nth(number).click()
    assert inputs(page)["people"] == "" and pressed(page) == ["false", "false"]


def test_cards_follow_the_input(page, server, film):
    page.page.evaluate(
        "() => { const node = app.graph._nodes.find(one => one.comfyClass === 'VividFaceFaceMask');"
        "const widget = node.widgets.find(one => one.name === 'people'); widget.value = '1'; widget.callback('1') }"
    )
    assert pressed(page) == ["true", "false"]
    page.page.locator(".vf-person").nth(1).click()
    assert inputs(page)["people"] == "1,2"
