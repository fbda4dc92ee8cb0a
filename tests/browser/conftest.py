"""A server and its page in both kinds of nodes, for the tests that don't set up their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser.make_pictures import SHOW
from tests.browser.page import ComfyPage
from tests.comfyui.server import ComfyServer


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[ComfyServer]:
    with ComfyServer(tmp_path_factory.mktemp("comfy")) as running:
        yield running


@pytest.fixture(params=[False, True], ids=["classic", "vue"], scope="module")
def page(request, server) -> Iterator[ComfyPage]:
    server.post("/settings", {**SHOW, "Comfy.VueNodes.Enabled": request.param})
    with ComfyPage(server) as opened:
        opened.vue = request.param
        yield opened
