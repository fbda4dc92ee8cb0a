"""The clips that the example workflows load: an empty ComfyUI has none of its own."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import folder_paths

ASSETS = Path(__file__).parents[1] / "assets"


def offer_examples() -> None:
    """Put the clips into ComfyUI's input folder, where nothing of their names is yet."""
    folder = Path(folder_paths.get_input_directory())
    for clip in sorted(ASSETS.glob("*.mp4")):
        target = folder / clip.name
        try:
            if not target.exists():
                folder.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(clip, target)
        except OSError as error:  # a folder that may not be written: the example workflows then ask for a file
            logging.info("VividFace: the example clip %s can't be put into %s: %s", clip.name, folder, error.strerror)
