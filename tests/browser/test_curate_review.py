"""The review page of a curation in a real browser, mostly opened as a file, as a person does it."""

from __future__ import annotations

import copy
import functools
import http.server
import json
import re
import threading
from pathlib import Path

import pytest

from tests.browser.page import FLAGS, browser_path
from tests.curated import THRESHOLD, data_set
from training.curation import human_labels
from training.curation.human_labels import HumanLabel
from training.curation.review import clips
from training.curation.review.page import write_review

HOSTILE = '</script><img src=x onerror="window.hit=1">\'<b>&amp;'


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    """Folder of videos, data set, rows."""
    return data_set(tmp_path_factory.mktemp("curated"), 3)


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
        yield chromium
        chromium.close()


class Review:
    """An open page: what it asked for and complained of, and what a test reads off it."""

    def __init__(self, context, address: str) -> None:
        self.page, self.asked, self.said, self.address = context.new_page(), [], [], address
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_selector(".card, #none:not([hidden])")

    def keys(self) -> list[str]:
        """Of the cards in sight, in their order."""
        places = self.page.locator(".card").evaluate_all(
            "cards => cards.map(card => [Number(card.dataset.place), card.querySelector('.key').textContent])"
        )
        return [key for _, key in sorted(places)]

    def card(self, key: str):
        return self.page.locator(".card").filter(has=self.page.locator(".key").get_by_text(key, exact=True))

    def chosen(self) -> str:
        return self.page.locator("#side .place h2").inner_text()

    def count(self, kind: str) -> int:
        return int(self.page.locator(f"[data-kind={kind}] b").inner_text().replace(",", ""))

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def downloaded(self, path: Path) -> Path:
        """What Save leaves in the downloads; the file dialog, which no script can use, is taken away first."""
        self.page.evaluate("() => { window.showSaveFilePicker = undefined }")
        with self.page.expect_download() as caught:
            self.page.click("#save")
        assert caught.value.suggested_filename == "overrules.json"
        caught.value.save_as(path)
        return path


@pytest.fixture
def folder(curated):
    """The data set's, without a person's word before and after."""
    yield curated[1]
    (curated[1] / "overrules.json").unlink(missing_ok=True)


@pytest.fixture
def opened(browser, curated, folder):
    """A page in a browser profile of its own."""
    videos, out, rows = curated
    write_review(rows, out, out / "review.html", {"name": "heads", "source": videos, "threshold": THRESHOLD})
    context = browser.new_context(viewport={"width": 1400, "height": 900}, accept_downloads=True)
    yield Review(context, (out / "review.html").as_uri())
    context.close()


def ranked(rows) -> list[str]:
    """Keys as the page orders them at first."""
    return [row["key"] for row in sorted(rows, key=lambda row: (row["final"] is None, -(row["final"] or 0)))]


def test_it_opens_without_network_and_complaints(opened, curated):
    rows = curated[2]
    assert opened.keys() == ranked(rows) and opened.chosen() == ranked(rows)[0]
    for image in opened.page.locator(".card img").all():
        assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 1024
    assert {kind: opened.count(kind) for kind in ("all", "kept", "dropped", "person")} == {
        "all": len(rows),
        "kept": sum(row["state"] == "kept" for row in rows),
        "dropped": sum(row["state"] == "dropped" for row in rows),
        "person": 0,
    }
    opened.page.wait_for_selector("#side video, #side .flips")
    outside = [url for url in opened.asked if not url.startswith(("data:", curated[1].as_uri()))]
    assert outside == [] and opened.said == []


def test_a_clip_tells_its_scores_reasons_and_cause(opened, curated):
    dropped = next(row for row in curated[2] if row["stage"] == "judge" and row["state"] == "dropped")
    opened.card(dropped["key"]).click()
    side, found = opened.page.locator("#side"), dropped["judgement"]["assessment"]
    text = side.inner_text()
    assert opened.chosen() == dropped["key"] and dropped["causes"][0] in text and "Dropped by the judge" in text
    for reason in found["reasons"].values():
        assert reason in text
    for line, (key, score) in zip(side.locator(".dimensions li").all(), found["scores"].items(), strict=True):
        points = {"clarity": 35, "artifacts": 15, "occlusion": 10}.get(key, 20)
        assert f"{score:g} / {points}" in line.inner_text()
        bar = line.locator(".bar").evaluate("bar => bar.firstChild.offsetWidth / bar.offsetWidth")
        assert bar == pytest.approx(score / points, abs=0.02)
    technical = next(row for row in curated[2] if row["stage"] == "technical")
    opened.card(technical["key"]).click()
    assert all(cause in side.inner_text() for cause in technical["causes"])


def test_previews_flip_when_pointed_at_and_kept_clips_play(opened, curated):
    last = ranked(curated[2])[-1]
    opened.card(last).hover()
    running = "image => image.getAnimations().map(one => one.playState)"
    assert opened.card(last).locator("img").evaluate(running) == ["running"]
    opened.page.locator("h1").hover()
    assert opened.card(last).locator("img").evaluate(running) == []
    opened.card(last).click()
    opened.press("Space")
    assert opened.page.locator("#side .flips img").evaluate(running) == ["running"]
    opened.page.click("[data-still='2']")
    shown = opened.page.locator("#side .still img").evaluate(
        "image => { const a = image.getBoundingClientRect(), b = image.parentElement.getBoundingClientRect();"
        " return [(b.left - a.left) / a.width * 1024, (b.top - a.top) / a.height * 448, b.width / a.width * 1024] }"
    )
    assert shown == pytest.approx([640, 128, 320], abs=2), "the last of the three large frames fills the place"


def test_overruling_by_click_and_by_key_undo_and_again(opened, curated):
    first, second, *_ = order = ranked(curated[2])
    kept = opened.count("kept")
    opened.page.click("[data-verdict=drop]")
    assert opened.count("kept") == kept - 1 and opened.count("person") == 1
    assert "you" in opened.card(first).inner_text() and "by you" in opened.page.locator("#side .verdict").inner_text()
    opened.press("ArrowRight", "d")
    assert opened.chosen() == second and opened.count("kept") == kept - 2
    opened.press("u")
    assert opened.count("kept") == kept - 1 and opened.chosen() == second
    opened.page.click("#undo")
    assert opened.count("kept") == kept and opened.count("person") == 0 and opened.chosen() == first
    assert opened.page.locator("#undo").is_disabled()
    opened.press("y", "y")
    assert opened.count("kept") == kept - 2 and opened.chosen() == second
    opened.press("End", "k")
    assert opened.chosen() == order[-1] and opened.count("kept") == kept - 1
    opened.page.click("[data-verdict='']")
    assert opened.count("kept") == kept - 2 and opened.count("person") == 2
    opened.press("Home", "Shift+K", "Shift+K")
    assert opened.chosen() == order[2] and opened.count("kept") == kept
    assert opened.keys() == order, "cards stay where they are while a person decides"
    assert opened.said == []


def test_a_reload_keeps_decisions_and_saving_writes_what_the_run_reads(opened, curated, tmp_path):
    first, second, third, *_ = ranked(curated[2])
    opened.press("d", "ArrowRight", "s")
    opened.page.keyboard.type("87,5")
    opened.press("Escape", "n")
    opened.page.keyboard.type('k is kept, d isn\'t: ü\n"x"')
    opened.press("Escape", "ArrowRight", "s")
    opened.page.keyboard.type("101")
    assert opened.page.locator(".wrong").is_visible() and opened.page.locator("[aria-invalid=true]").count() == 1
    opened.press("Escape")
    assert opened.page.locator("#save").inner_text() == "Save overrules (3)", "1 and 10 were scores"
    opened.press("u")
    expected = {first: HumanLabel("drop"), second: HumanLabel(None, 87.5, 'k is kept, d isn\'t: ü\n"x"')}
    opened.page.reload()
    assert opened.count("person") == 2 and opened.page.locator("#save").inner_text() == "Save overrules (2)"
    opened.card(second).click()
    assert opened.page.input_value("[name=score]") == "87.5"
    assert opened.page.input_value("[name=note]") == expected[second].note
    assert human_labels.read(opened.downloaded(tmp_path / "overrules.json")) == expected
    assert opened.page.locator("#notice").is_visible() and opened.page.locator("#save").inner_text() == "Save overrules"
    mine = json.loads((tmp_path / "overrules.json").read_text(encoding="utf-8"))
    human_labels.write(tmp_path / "again.json", expected)
    assert json.loads((tmp_path / "again.json").read_text(encoding="utf-8")) == mine
    opened.page.reload()
    assert opened.page.locator("#save").inner_text() == "Save overrules" and opened.count("person") == 2
    assert opened.said == []


def test_overrules_of_before_are_shown_and_can_be_taken_back(opened, curated, folder, tmp_path):
    videos, out, rows = curated
    first, second, *_ = ranked(rows)
    opened.press("d")
    opened.downloaded(out / "overrules.json")
    with (out / "overrules.json").open(encoding="utf-8") as file:
        stored = json.load(file)
    stored["overrules"]["a clip of before"] = {"verdict": "keep", "score": 3, "note": ""}
    (out / "overrules.json").write_text(json.dumps(stored), encoding="utf-8")
    after = copy.deepcopy(rows)
    mine = next(row for row in after if row["key"] == first)
    mine.update(state="dropped", stage="person", overruled="drop", clip=None)
    write_review(after, out, out / "review.html", {"name": "heads", "source": videos, "threshold": THRESHOLD})
    opened.page.reload()
    assert opened.count("person") == 1 and opened.page.locator("#save").inner_text() == "Save overrules"
    assert "✕ you" in opened.card(first).inner_text() and opened.count("dropped") == 1 + sum(
        row["state"] == "dropped" for row in rows
    )
    opened.page.click("[data-verdict='']")
    assert opened.count("person") == 0 and "✓ kept" in opened.card(first).inner_text(), "as the judge had it"
    told = human_labels.read(opened.downloaded(tmp_path / "overrules.json"))
    assert told == {"a clip of before": HumanLabel("keep", 3)}


def test_order_filters_search_and_histogram(opened, curated):
    rows, page = curated[2], opened.page
    scored = [row for row in rows if row["final"] is not None]
    final = {row["key"]: row["final"] for row in rows}
    page.select_option("#sort", "low")
    low = [final[key] for key in opened.keys()]
    assert low[: len(scored)] == sorted(row["final"] for row in scored) and set(low[len(scored) :]) <= {None}
    page.select_option("#sort", "near")
    near = [abs(final[key] - THRESHOLD) for key in opened.keys()[: len(scored)]]
    assert near == sorted(near)
    page.select_option("#sort", "spread")
    spread = {row["key"]: row["judgement"]["spread"]["final"]["std"] for row in scored}
    told = [spread[key] for key in opened.keys()[: len(scored)]]
    assert told == sorted(told, reverse=True) and told[0] > told[-1]
    page.select_option("#sort", "key")
    assert opened.keys() == [row["key"] for row in rows]
    page.click("[data-kind=near]")
    assert set(opened.keys()) == {row["key"] for row in scored if abs(row["final"] - THRESHOLD) <= 5}
    page.click("[data-kind=dropped]")
    assert set(opened.keys()) == {row["key"] for row in rows if row["state"] == "dropped"}
    option = page.locator("#cause option", has_text="of another clip")
    assert option.inner_text().endswith(f"({sum(row['stage'] == 'duplicate' for row in rows)})")
    page.select_option("#cause", option.get_attribute("value"))
    assert set(opened.keys()) == {row["key"] for row in rows if row["stage"] == "duplicate"}
    page.click("#clear")
    page.fill("#search", "WOLFGANG blurred")
    assert opened.keys() == [row["key"] for row in rows if "wolfgang-0-blurred" in row["key"]]
    page.fill("#search", "no such clip")
    assert opened.keys() == [] and page.locator("#none").is_visible()
    page.click("#clear")
    heights = page.locator(".bin").evaluate_all("bins => bins.map(bin => [...bin.children].map(i => i.offsetHeight))")
    bars = [sum(pair) for pair in heights]
    box = page.locator(".bins").bounding_box()
    tallest = bars.index(max(bars))
    page.mouse.click(box["x"] + box["width"] * (tallest + 0.5) / len(bars), box["y"] + 40)
    low, high = map(float, re.search(r"above ([\d.]+) up to ([\d.]+)", page.locator("#shown").inner_text()).groups())
    inside = {row["key"] for row in scored if low < row["final"] <= high}
    assert set(opened.keys()) == inside and inside
    assert f"{len(inside)} clip" in page.locator("#histogram output").inner_text()
    line = page.locator(".threshold").bounding_box()["x"]
    left = [box["x"] + box["width"] * place / len(bars) for place in range(len(bars) + 1)]
    assert min(abs(edge - line) for edge in left) < 2, "the threshold lies between two bars"
    assert opened.said == []


def test_the_disk_of_the_persons_choice_is_written_to(browser, curated, folder):
    """Over HTTP, where the browser has files without a dialog; the dialog alone is left out."""
    _, out, rows = curated
    write_review(rows, out, out / "review.html", {"threshold": THRESHOLD})
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(quiet, directory=str(out)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    try:
        review = Review(context, f"http://127.0.0.1:{server.server_port}/review.html")
        review.page.evaluate("""() => { window.showSaveFilePicker = async ({ suggestedName }) => {
            window.asked = (window.asked ?? 0) + 1
            return (await navigator.storage.getDirectory()).getFileHandle(suggestedName, { create: true })
        } }""")
        read = """async () => (await (await (await navigator.storage.getDirectory()).getFileHandle('overrules.json'))
            .getFile()).text()"""
        for key, verdict in (("d", "drop"), ("k", "keep")):
            review.press(key, "Control+s")
            review.page.wait_for_function("() => document.querySelector('#save').textContent === 'Save overrules'")
            told = json.loads(review.page.evaluate(read))
            assert told["overrules"] == {review.chosen(): {"verdict": verdict, "score": None, "note": ""}}
        assert review.page.evaluate("() => window.asked") == 1, "the place is asked for once"
        review.page.wait_for_selector("#side video, #side .flips")
        assert review.said == []
    finally:
        context.close()
        server.shutdown()
        server.server_close()


def test_two_thousand_clips_are_as_quick_as_ten(browser, curated, folder, monkeypatch):
    _, out, rows = curated
    crowd = [{**rows[number % len(rows)], "place": number} for number in range(2000)]
    monkeypatch.setattr(clips, "ROOM", 100_000)
    write_review(crowd, out, out / "many.html", {"threshold": THRESHOLD})
    assert (out / "many.html").stat().st_size < 12_000_000
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    review = Review(context, (out / "many.html").as_uri())
    try:
        assert review.count("all") == 2000 and review.page.locator(".card").count() < 60
        assert review.page.locator(".card img").first.evaluate("image => image.decode().then(() => 1)") == 1
        review.press("End")
        assert review.page.locator(".card[aria-selected=true]").get_attribute("aria-posinset") == "2000"
        assert review.page.locator(".card").count() < 60
        active = review.page.locator("#grid").get_attribute("aria-activedescendant")
        assert review.page.locator(f"#{active}").is_visible()
        review.press("PageUp", "ArrowUp", "ArrowLeft", "Home")
        assert review.page.locator(".card[aria-selected=true]").get_attribute("aria-posinset") == "1"
        assert review.page.evaluate("() => document.querySelectorAll('*').length") < 2500 and review.said == []
    finally:
        context.close()


def test_what_others_wrote_is_text_and_runs_nothing(browser, curated, folder):
    _, out, rows = curated
    rows = copy.deepcopy([row for row in rows if row["judgement"]][:1])
    rows[0].update(key=HOSTILE, video=HOSTILE, causes=[HOSTILE], tier=HOSTILE, figures={HOSTILE: HOSTILE}, clip=None)
    found = rows[0]["judgement"]["assessment"]
    found.update(
        reasons=dict.fromkeys(found["reasons"], HOSTILE),
        critical_issues=[HOSTILE],
        motion_blur=HOSTILE,
        adjustments=[{"rule": HOSTILE, "points": -1, "reason": HOSTILE}],
        faults=[HOSTILE],
    )
    human_labels.write(out / "overrules.json", {HOSTILE: HumanLabel("drop", 3, HOSTILE)})
    write_review([{**rows[0]}], out, out / "hostile.html", {"name": HOSTILE, "judge": HOSTILE, "command": HOSTILE})
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    try:
        review = Review(context, (out / "hostile.html").as_uri())
        review.press("k", "u")
        assert review.page.title() == f"{HOSTILE} – review" and review.chosen() == HOSTILE
        assert review.page.locator("#side").inner_text().count(HOSTILE) >= 10
        assert review.page.locator("main b b, main img[src=x]").count() == 0
        assert review.page.evaluate("() => window.hit") is None and review.said == []
    finally:
        context.close()


@pytest.mark.parametrize("width", [1400, 390])
def test_it_is_dark_where_that_is_wanted_and_never_too_wide(browser, opened, width):
    shades = {}
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        review = Review(context, opened.address)
        color = review.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(map(int, re.findall(r"\d+", color)[:3]))
        assert review.page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        review.page.locator(".card").nth(1).click()
        assert review.page.locator("#side form").is_visible(), "beside the clips, or over them where it is narrow"
        review.press("Escape")
        assert review.page.locator("#side form").is_visible() == (width == 1400)
        context.close()
    assert shades["light"] > 700 and shades["dark"] < 100
