"""Which checkpoints there are, where they lie, what they hold, and how a name becomes a restorer.

``catalog`` → ``detect`` → ``locate`` → ``load``: each knows only those before it.
"""

from vividface_core.weights.catalog import TABLE
from vividface_core.weights.convert import convert, convert_denoiser
from vividface_core.weights.detect import CheckpointInfo, inspect
from vividface_core.weights.folder import save_checkpoint_folder
from vividface_core.weights.load import WEIGHTS, load_restorer
from vividface_core.weights.locate import download, list_checkpoints, model_folders, where

__all__ = [
    "CheckpointInfo", "TABLE", "WEIGHTS", "convert", "convert_denoiser", "download", "inspect", "list_checkpoints",
    "load_restorer", "model_folders", "save_checkpoint_folder", "where",
]  # fmt: skip
