"""Which checkpoints there are, where they lie, what they hold, and how a name becomes a restorer.

``table`` → ``content`` → ``places`` → ``load``: each knows only those before it.
"""

from vividface_core.convert import convert, convert_denoiser, save_checkpoint_folder
from vividface_core.weights.content import CheckpointInfo, inspect
from vividface_core.weights.load import WEIGHTS, load_restorer
from vividface_core.weights.places import download, list_checkpoints, model_folders, where
from vividface_core.weights.table import TABLE

__all__ = [
    "CheckpointInfo", "TABLE", "WEIGHTS", "convert", "convert_denoiser", "download", "inspect", "list_checkpoints",
    "load_restorer", "model_folders", "save_checkpoint_folder", "where",
]  # fmt: skip
