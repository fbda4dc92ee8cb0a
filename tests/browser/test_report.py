"""The HTML report in a real browser, opened as a file."""

from __future__ import annotations

import re

import pytest

from tests.browser.page import FLAGS, browser_path
from tests.measured import coded, lossless
from vividface_core.cli.main import main

FRAMES = 24


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    """Two clips by PSNR, SSIM and a metric without weights."""
    root = tmp_path_factory.mktemp("report")
    for number, name in enumerate(("first", "second")):
        for kind in ("truth", "output"):
            (root / kind).mkdir(exist_ok=True)
        truth = lossless(root / "truth" / f"{name}.mkv", 80 * number, FRAMES)
        coded(root / "output" / f"{name}.mkv", truth, (36, 26)[number])
    target = root / "report.html"
    assert (
        main(
            [
                "metrics",
                str(root / "output"),
                "--reference",
                str(root / "truth"),
                "--only",
                "psnr,ssim",
                "--html",
                str(target),
                "--quiet",
            ]
        )
        == 0
    )
    return target


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser, report):
    """The page, what it asked for, and what it complained of."""
    page, asked, said = browser.new_page(viewport={"width": 1200, "height": 900}), [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(report.as_uri())
    yield page, asked, said
    page.close()


def curve(page, clip, metric):
    return page.locator(f"#clip-{clip} figure[data-metric={metric}]")


def figures(page, clip, metric):
    path = curve(page, clip, metric).locator("path").get_attribute("d")
    return [float(value) for value in re.findall(r"[ML]\d+ ([-\d.e]+)", path)]


def test_it_opens_without_network_and_complaints(opened, report):
    page, asked, said = opened
    for picture in page.locator("img").all():
        assert picture.evaluate("image => image.complete && image.naturalWidth > 0")
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]
    assert said == []


def test_pointing_at_a_curve_tells_the_frames_figures(opened):
    page, _, said = opened
    area = curve(page, 0, "psnr").locator("svg")
    output, rest = curve(page, 0, "psnr").locator("output"), curve(page, 0, "psnr").locator("output").inner_text()
    box = area.bounding_box()
    for frame in (0, 7, FRAMES - 1):
        area.hover(position={"x": min(box["width"] * frame / (FRAMES - 1), box["width"] - 1), "y": 40})
        assert output.inner_text() == f"frame {frame}: {figures(page, 0, 'psnr')[frame]:.2f}"
        told = curve(page, 0, "ssim").locator("output").inner_text()
        assert told == f"frame {frame}: {figures(page, 0, 'ssim')[frame]:.4f}", "all charts of a clip move together"
    assert page.locator("#clip-0 .change output").inner_text().startswith(f"frame {FRAMES - 1}: output ")
    assert curve(page, 1, "psnr").locator("output").inner_text().startswith("clip ")
    page.locator("h1").hover()
    assert output.inner_text() == rest and said == []


def test_the_keys_go_from_frame_to_frame(opened):
    page, _, _ = opened
    area, output = curve(page, 1, "ssim").locator("svg"), curve(page, 1, "ssim").locator("output")
    area.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert output.inner_text() == f"frame 2: {figures(page, 1, 'ssim')[2]:.4f}"
    page.keyboard.press("Shift+ArrowLeft")
    assert output.inner_text().startswith("frame 0: ")


def test_the_curve_is_where_its_axis_says(opened):
    """The pixel of a curve's highest point lies as far between two labels as its figure does."""
    page, _, _ = opened
    values = figures(page, 0, "psnr")
    place = (
        curve(page, 0, "psnr")
        .locator("path")
        .evaluate(
            """(path, frame) => {
          const [, x, y] = [...path.getAttribute('d').matchAll(/[ML](\\d+) ([-\\d.e]+)/g)][frame].map(Number)
          const point = new DOMPoint(x, y).matrixTransform(path.getScreenCTM())
          return [point.x, point.y]
        }""",
            values.index(max(values)),
        )
    )
    labels = [
        (float(label.inner_text()), label.bounding_box()) for label in curve(page, 0, "psnr").locator(".y span").all()
    ]
    (low, at_low), (high, at_high) = labels[0], labels[-1]
    low_y, high_y = (box["y"] + box["height"] / 2 for box in (at_low, at_high))
    assert place[1] == pytest.approx(low_y + (high_y - low_y) * (max(values) - low) / (high - low), abs=1.5)
    box = curve(page, 0, "psnr").locator("svg").bounding_box()
    assert place[0] == pytest.approx(box["x"] + box["width"] * values.index(max(values)) / (FRAMES - 1), abs=1.5)


def test_a_click_on_a_head_sorts(opened):
    page, _, _ = opened
    rows = page.locator("table.sortable tbody th")
    assert rows.all_inner_texts() == ["first", "second"]
    head = page.locator("thead button", has_text="PSNR")
    head.click()
    assert rows.all_inner_texts() == ["first", "second"], "the first is the worse one"
    head.click()
    assert rows.all_inner_texts() == ["second", "first"]
    assert page.locator("thead th[aria-sort=descending]").inner_text().startswith("PSNR")
    page.locator("thead button", has_text="clip").click()
    assert rows.all_inner_texts() == ["first", "second"]


@pytest.mark.parametrize("width", [1200, 390])
def test_it_is_dark_where_that_is_wanted_and_never_too_wide(browser, report, width):
    shades = {}
    for scheme in ("light", "dark"):
        page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page.goto(report.as_uri())
        color = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        shades[scheme] = sum(map(int, re.findall(r"\d+", color)[:3]))
        assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
        page.close()
    assert shades["light"] > 700 and shades["dark"] < 100
