"""The documentation as a site: built without a warning, whole, and with clips whose divider works in a real browser."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urljoin, urlparse

import pytest

from tests.browser.page import FLAGS, browser_path
from tests.paths import REPOSITORY

# The clip's halves and the canvas, as rows of grey levels at the clip's middle, at one moment of the paused clip.
SEEN = """async (share) => {
  const figure = document.querySelector('figure.before-after');
  const [video, canvas] = [figure.querySelector('video'), figure.querySelector('canvas')];
  video.pause();
  const box = canvas.getBoundingClientRect();
  const at = {clientX: box.left + share * box.width, clientY: box.top + 5, bubbles: true};
  canvas.dispatchEvent(new PointerEvent('pointermove', at));
  await new Promise(done => setTimeout(done, 200));
  const whole = Object.assign(document.createElement('canvas'), {width: video.videoWidth, height: video.videoHeight});
  whole.getContext('2d').drawImage(video, 0, 0);
  const row = (source, first, width) => {
    const y = Math.floor(source.height / 2);
    const data = source.getContext('2d').getImageData(first, y, width, 1).data;
    return Array.from({length: width}, (_, x) => data[4 * x]);
  };
  const half = video.videoWidth / 2;
  return {input: row(whole, 0, half), output: row(whole, half, half), shown: row(canvas, 0, half)};
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_whatever_a_page_shows_is_part_of_the_site(site):
    pages = sorted(site.rglob("*.html"))
    assert {"index.html", "gallery.html", "models.html", "api.html", "bfvr_stc.html"} <= {p.name for p in pages}
    lost, clips = [], 0
    for page in pages:
        for source in re.findall(r'<(?:img|video|script|link)\b[^>]*?\b(?:src|href)="([^"]+)"', page.read_text()):
            url = urlparse(urljoin(page.relative_to(site).as_posix(), source))
            if url.scheme or source.startswith(("data:", "#")):
                continue
            clips += url.path.endswith(".mp4")
            if not (site / unquote(url.path).lstrip("/")).exists():
                lost.append((page.name, source))
    assert not lost and clips >= 7


def test_readme_is_the_first_page_and_api_has_signatures(site):
    first = (site / "index.html").read_text()
    assert 'href="nano.html"' in first and 'href="docs/' not in first
    api = (site / "api.html").read_text()
    assert "restore_video" in api and "RestoreOptions" in api and "identity_threshold" in api


def test_the_divider_shows_input_at_its_left_and_output_at_its_right(site):
    from playwright.sync_api import sync_playwright

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/"
    try:
        with sync_playwright() as driver:
            chromium = driver.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
            page, asked = chromium.new_page(), []
            page.on("request", lambda request: asked.append(request.url))
            page.goto(address + "gallery.html")
            page.wait_for_function("document.querySelector('figure.before-after canvas')?.width > 100", timeout=60_000)
            seen = {share: page.evaluate(SEEN, share) for share in (0.02, 0.5, 0.98)}
            chromium.close()
    finally:
        server.shutdown()
    for share, rows in seen.items():
        width = len(rows["shown"])
        cut = round(share * width)
        assert rows["input"] != rows["output"]
        for name, part in (("input", slice(0, max(cut - 2, 0))), ("output", slice(cut + 2, width))):
            far = [abs(a - b) for a, b in zip(rows["shown"][part], rows[name][part])]
            assert sum(far) <= len(far), (share, name)
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), "nothing is fetched from elsewhere"


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        return None
