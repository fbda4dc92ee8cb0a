"""One ComfyUI server with the pack for all tests of this room, and a real degraded face in its input folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.assets import clip, run_ffmpeg
from tests.comfyui.server import ComfyServer


def degraded_face(path: Path, frames: int = 24, width: int = 320, blur: float = 1) -> Path:
    """A person who speaks: blurred, small, compressed, with a tone as sound; 24 frames a second."""
    run_ffmpeg(
        "-i",
        clip("franck"),
        "-f",
        "lavfi",
        "-i",
        f"sine=frequency=440:duration={frames / 24}",
        "-vf",
        f"fps=24,scale={width // 2}:-2,gblur={blur},scale={width}:-2",
        "-t",
        frames / 24,
        "-map",
        "0:v",
        "-map",
        "1:a",
        "-c:v",
        "libx264",
        "-crf",
        "24",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        path,
    )
    return path


HALF = '''
from comfy_api.latest import ComfyExtension, io

class Half(io.ComfyNode):
    """Images in half precision, as ComfyUI keeps them with --fp16-intermediates."""
    @classmethod
    def define_schema(cls):
        return io.Schema(node_id="TestHalf", inputs=[io.Image.Input("images")], outputs=[io.Image.Output()])
    @classmethod
    def execute(cls, images):
        return io.NodeOutput(images.half())

class Extension(ComfyExtension):
    async def get_node_list(self):
        return [Half]

async def comfy_entrypoint():
    return Extension()
'''


@pytest.fixture(scope="session")
def comfy(tmp_path_factory):
    """A running server with a node ``TestHalf`` besides; its input folder holds ``face.mp4``."""
    server = ComfyServer(tmp_path_factory.mktemp("comfyui"))
    (server.folder / "input").mkdir(parents=True)
    (server.folder / "custom_nodes" / "half").mkdir(parents=True)
    (server.folder / "custom_nodes" / "half" / "__init__.py").write_text(HALF)
    degraded_face(server.folder / "input" / "face.mp4")
    with server:
        yield server
