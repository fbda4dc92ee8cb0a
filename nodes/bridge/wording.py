"""Messages with the nodes' names of things: of judges, and of folders."""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import folder_paths

from vividface_core.errors import JudgeFailed, VividFaceError

WIDGETS = {
    ", or name the variable with --key-env": "",
    "VIVIDFACE_MLLM_KEY": "VIVIDFACE_MLLM_KEY or the settings file",
    "--model": "server_model",
    "--four-bit": "precision = 4 bits",
    "--frame-pixels": "frame_pixels",
    "--max-tokens": "max_tokens",
}
"""What the command line calls things, and what the nodes do."""


def in_words(text: str) -> str:
    """A message without the command line's options."""
    for said, meant in WIDGETS.items():
        text = text.replace(said, meant)
    return re.sub(r"--(?=(fps|frames|passes)\b)", "", text)


@contextmanager
def renamed() -> Iterator[None]:
    """Errors of a judge that pass through here speak of the nodes' inputs.

    Raises:
        JudgeFailed: in place of another of its kind.
    """
    try:
        yield
    except JudgeFailed as error:
        raise JudgeFailed(in_words(str(error))) from error


def _given(name: str, _: object) -> str:
    return name


def local(text: str) -> str:
    """A message in which ComfyUI's folders have their short names: a page may be seen by others than the server's
    owner, and nobody finds his way by absolute paths of another machine."""
    for folder, name in _folders():
        text = re.sub(re.escape(folder) + r"(?=[/\\\\]|\b)", partial(_given, name), text)
    return text


def _folders() -> list[tuple[str, str]]:
    """Absolute folders and what they are called here, the longest first."""
    named = {
        "input": folder_paths.get_input_directory(),
        "output": folder_paths.get_output_directory(),
        "temp": folder_paths.get_temp_directory(),
        "models": folder_paths.models_dir,
        "ComfyUI": folder_paths.base_path,
        "~": str(Path.home()),
    }
    found = {str(way): name for name, folder in named.items() for way in (folder, os.path.realpath(folder))}
    # The root of a file system would be found everywhere.
    return sorted(((f, n) for f, n in found.items() if len(Path(f).parts) > 1), key=lambda pair: -len(pair[0]))


def told_locally(node: Any) -> Any:
    """The node with errors, on validation and on execution, that name folders as the page does."""
    execute, validate = node.execute.__func__, vars(node).get("validate_inputs")

    @wraps(execute)
    def checked(cls: type, *arguments: Any, **values: Any) -> Any:
        try:
            return execute(cls, *arguments, **values)
        except (VividFaceError, OSError) as error:
            if (text := local(str(error))) == str(error):
                raise
            raise type(error)(text) from error

    node.execute = classmethod(checked)
    if validate is not None:
        inner = validate.__func__

        @wraps(inner)
        def said(cls: type, *arguments: Any, **values: Any) -> bool | str:
            answer = inner(cls, *arguments, **values)
            return local(answer) if isinstance(answer, str) else answer

        # ComfyUI leaves to a node what its check has arguments for.
        shown: Any = said
        shown.__signature__ = inspect.signature(inner)
        node.validate_inputs = classmethod(shown)
    return node
