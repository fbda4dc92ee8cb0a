"""The pack's door for ComfyUI."""

import importlib.util
import sys
from pathlib import Path

WEB_DIRECTORY = "./web"


def _engine() -> None:
    """Make ``import vividface_core`` find the engine of this folder, without opening the whole folder to imports."""
    if "vividface_core" in sys.modules:
        return
    home = Path(__file__).parent / "vividface_core"
    spec = importlib.util.spec_from_file_location(
        "vividface_core", home / "__init__.py", submodule_search_locations=[str(home)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["vividface_core"] = module
    spec.loader.exec_module(module)


async def comfy_entrypoint():
    """Called by ComfyUI after the import; returns the pack's extension.

    Raises:
        ImportError: this ComfyUI is older than the V3 node schema.
    """
    try:
        from comfy_api.latest import ComfyExtension, io  # noqa: F401
    except ImportError as error:
        raise ImportError("ComfyUI-VividFace needs ComfyUI 0.3.75 or newer: update ComfyUI, then start it.") from error
    _engine()
    from .nodes import VividFaceExtension

    return VividFaceExtension()
