"""Which checkpoints there are, where they lie, what they hold, and how a name becomes a restorer.

``catalog`` → ``detect`` → ``locate`` → ``load``: each knows only those before it.
"""

from vividface_core.weights.catalog import DEFLICKERERS, TABLE
from vividface_core.weights.detect import CheckpointInfo, inspect
from vividface_core.weights.load import load_restorer, load_unchanged, system_of
from vividface_core.weights.locate import download, list_checkpoints, model_folders, where

__all__ = [
    "CheckpointInfo",
    "DEFLICKERERS",
    "TABLE",
    "download",
    "inspect",
    "list_checkpoints",
    "load_restorer",
    "load_unchanged",
    "model_folders",
    "system_of",
    "where",
]
