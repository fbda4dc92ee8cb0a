"""Checkpoints of BFVR-STC: the released files, and the project's own folders.

A folder holds ``model.safetensors`` with the released names (without the release's unused weights), ``config.json``
with the network's arguments, and the card ``vividface.json``. Card and arguments also stand in the metadata of
``model.safetensors``, so that the file alone isn't taken for a released one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vividface_core.bfvr_stc.autoencoder import VQAutoEncoder3D
from vividface_core.bfvr_stc.codeformer import RESIDUALS, CodeFormer3D
from vividface_core.bfvr_stc.state_dict import drop_unused, find_weights, is_stage_two, network_arguments
from vividface_core.errors import InvalidOption, UnsupportedCheckpoint, VividFaceError
from vividface_core.io.atomic import read_json, write_json
from vividface_core.io.folders import whole_folder
from vividface_core.io.tensors import as_stored, misfits, read_tensors, write_tensors

SYSTEM = "bfvr_stc"
CARD, CONFIG, WEIGHTS = "vividface.json", "config.json", "model.safetensors"
FORMAT = 1
KINDS = ("restore", "deflicker_brightness", "deflicker_pixel")
"""What a stage II model does. Stage I alone is an ``autoencoder``."""
AUTOENCODER = "autoencoder"
DEFLICKER = "deflicker"
"""A released de-flickerer without a card: its weights don't tell which of the two flickers it was trained on."""
_DEFLICKER_LAYERS = 6
IN_CARD = ("residual", "n_head")
"""Arguments of the network that stand in the card, because the weights can't tell them."""


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint before its weights are used.

    Attributes:
        kind: one of :data:`KINDS`, :data:`DEFLICKER` or :data:`AUTOENCODER`.
        network: arguments of the network, with ``n_head`` and ``residual`` for stage II.
        native_size, native_frames: side in pixels and clip length that it was trained on.
        card: the folder's card as it stands; empty for a released file.
    """

    kind: str
    network: dict[str, Any]
    native_size: int
    native_frames: int = 24
    card: dict[str, Any] = field(default_factory=dict)

    @property
    def restores(self) -> bool:
        """Whether it is a stage II model, which turns a clip into another."""
        return self.kind != AUTOENCODER


def detect(path: str | Path, read: Callable[[Path], dict[str, Tensor]] = read_tensors) -> Checkpoint | None:
    """What the checkpoint at ``path`` is, by its content; ``None`` if it isn't one of this system.

    Args:
        path: a folder written by :func:`save`, or a file with the released names (``ckpt-bfvr.pth``,
            ``ckpt-defilcker.pth``, ``ckpt-deflickersd.pth``, ``net_g_stage1.pth``, whatever they are called here).
        read: reads the tensors of a file; for a caller who has them already.

    Raises:
        UnsupportedCheckpoint: it is of this system but can't be used: an unknown format, layout or kind.
        MissingWeights: there is nothing at ``path``.
    """
    path = Path(path)
    notes = _notes(path)
    if notes is not None:
        return _from_card(*notes, path)
    if path.is_dir():
        return None
    try:
        state = find_weights(read(path))
    except VividFaceError:
        if path.is_file():
            return None  # whatever is wrong with it is for its own system to say
        raise
    return None if state is None else _describe(state)


def load(
    path: str | Path,
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    n_head: int | None = None,
    residual: str | None = None,
) -> tuple[CodeFormer3D | VQAutoEncoder3D, Checkpoint]:
    """The network of a checkpoint, in evaluation mode, and what is known of it.

    Pickles are opened with ``weights_only=True``; names and shapes must be the network's own, except for the weights
    that the release stores and never uses: these are checked by name and shape and dropped.

    Args:
        path: as for :func:`detect`.
        device, dtype: where the weights go and their type; ``None``: as stored.
        n_head: heads of the lookups, for a file without a card; ``None``: 2 for 9 layers, 4 for 6, as released.
        residual: ``released`` or ``frames``; ``None``: what the card says, and ``released`` for a file without a
            card, which is what the released code trains.

    Raises:
        MissingWeights: nothing there.
        UnsupportedCheckpoint: damaged, of another system, or not exactly the tensors of its network.
        InvalidOption: ``n_head`` or ``residual`` contradicts the checkpoint.
    """
    path = Path(path)
    notes = _notes(path)
    if notes is None and path.is_dir():
        raise UnsupportedCheckpoint(f"{path} is no checkpoint folder of {SYSTEM}: it has no {CARD} that says so.")
    state = find_weights(read_tensors(path / WEIGHTS if path.is_dir() else path))
    if state is None:
        raise UnsupportedCheckpoint(f"{path} holds no weights of {SYSTEM} (encoder, two codebooks, generator).")
    known = _describe(state, n_head) if notes is None else _from_card(*notes, path)
    network = _overridden(known, n_head, residual)
    known = Checkpoint(known.kind, network, known.native_size, known.native_frames, known.card)
    net = _build(network, known.restores, path)
    state = drop_unused(state, network["emb_dim"]) if known.restores else state
    if faults := misfits(net.state_dict(), state):
        raise UnsupportedCheckpoint(f"{path} doesn't fit its network: {faults}. Fetch or export it again.")
    _check_types(state, path)
    net.load_state_dict({name: _placed(value, device, dtype) for name, value in state.items()}, assign=True)
    return net.eval(), known


def save(
    path: str | Path,
    net: CodeFormer3D | VQAutoEncoder3D,
    *,
    kind: str = AUTOENCODER,
    native_size: int | None = None,
    native_frames: int = 24,
    meta: Mapping[str, Any] | None = None,
    dtype: torch.dtype = torch.float16,
) -> Path:
    """Write a checkpoint folder; an older one of that name is replaced when the new one is complete. Whatever else
    lies in it stays.

    Args:
        net: the network; not changed.
        kind: one of :data:`KINDS` for a :class:`CodeFormer3D`; :data:`AUTOENCODER` for stage I.
        native_size: side of the training pictures; ``None``: that of the position table, 256 for stage I.
        native_frames: length of the training clips.
        meta: more for the card: training data and licences, metrics …
        dtype: type of the stored weights.

    Raises:
        InvalidOption: kind and network don't go together.
        UnsupportedCheckpoint: a weight is too large for ``dtype``.
    """
    path, restores = Path(path), isinstance(net, CodeFormer3D)
    if kind not in (KINDS if restores else (AUTOENCODER,)):
        kinds = ", ".join(KINDS)
        raise InvalidOption(f"A {type(net).__name__} can't be saved as {kind!r}; kinds of stage II: {kinds}.")
    card = {
        **(meta or {}),
        "format": FORMAT,
        "system": SYSTEM,
        "kind": kind,
        "native_size": native_size or net.config.get("img_size", net.config["resolution"]),
        "native_frames": native_frames,
    }
    if restores:
        card |= {name: net.config[name] for name in IN_CARD}
    config = {"_class_name": type(net).__name__, **{k: v for k, v in net.config.items() if k not in IN_CARD}}
    state = {name: as_stored(name, value, dtype) for name, value in net.state_dict().items()}
    with whole_folder(path) as partial:
        notes = {CARD: json.dumps(card), CONFIG: json.dumps(config)}
        write_tensors(partial / WEIGHTS, state, {"format": "pt", **notes})
        write_json(partial / CONFIG, config, indent=2)
        write_json(partial / CARD, card, indent=2)
    return path


def _notes(path: Path) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Card and network arguments of a folder or of its weights alone; ``None`` where no card names this system."""
    if path.is_dir():
        card = read_json(path / CARD) if (path / CARD).is_file() else {}
        if card.get("system") != SYSTEM:
            return None
        if not (path / CONFIG).is_file():
            raise UnsupportedCheckpoint(f"{path} has no {CONFIG} with the network's arguments. Export it again.")
        return card, read_json(path / CONFIG)
    if path.suffix != ".safetensors" or not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata() or {}
        card, config = (json.loads(told.get(name, "{}")) for name in (CARD, CONFIG))
    except (SafetensorError, OSError, ValueError):
        return None  # reading its tensors says what is wrong
    return (card, config) if isinstance(card, dict) and card.get("system") == SYSTEM else None


def _from_card(card: dict[str, Any], config: dict[str, Any], path: Path) -> Checkpoint:
    where = f"{path}: its card ({CARD})"
    if card.get("format") != FORMAT:
        raise UnsupportedCheckpoint(f"{where} is of format {card.get('format')!r}; this version reads {FORMAT}.")
    kind = card.get("kind")
    if kind not in (*KINDS, AUTOENCODER):
        raise UnsupportedCheckpoint(f"{where} says kind {kind!r}; known are {', '.join((*KINDS, AUTOENCODER))}.")
    whole = ("native_size", "native_frames") if kind == AUTOENCODER else ("native_size", "native_frames", "n_head")
    for key in whole:
        if type(card.get(key)) is not int or card[key] < 1:
            raise UnsupportedCheckpoint(f"{where} says {key} {card.get(key)!r}, but a positive whole number is needed.")
    network = {name: value for name, value in config.items() if not name.startswith("_")}
    if kind != AUTOENCODER:
        if card.get("residual") not in RESIDUALS:
            raise UnsupportedCheckpoint(
                f"{where} says residual {card.get('residual')!r}; it must be {' or '.join(RESIDUALS)}, as trained."
            )
        network |= {name: card[name] for name in IN_CARD}
    return Checkpoint(kind, network, card["native_size"], card["native_frames"], card)


def _describe(state: Mapping[str, Tensor], n_head: int | None = None) -> Checkpoint:
    """A file without a card: what the released code writes."""
    network = network_arguments(state, n_head)
    if not is_stage_two(state):
        return Checkpoint(AUTOENCODER, network, network["resolution"])
    kind = DEFLICKER if network["n_layers"] == _DEFLICKER_LAYERS else KINDS[0]
    return Checkpoint(kind, {**network, "residual": "released"}, network["img_size"])


def _overridden(known: Checkpoint, n_head: int | None, residual: str | None) -> dict[str, Any]:
    wanted = {name: value for name, value in (("n_head", n_head), ("residual", residual)) if value is not None}
    if wanted and not known.restores:
        raise InvalidOption(f"{', '.join(wanted)} belongs to stage II; this checkpoint is stage I's autoencoder.")
    for name, value in wanted.items():
        if known.card and value != known.network[name]:
            raise InvalidOption(f"{name} is {value!r}, but the checkpoint's card says {known.network[name]!r}.")
    return {**known.network, **wanted}


def _build(network: Mapping[str, Any], restores: bool, path: Path) -> CodeFormer3D | VQAutoEncoder3D:
    try:
        return (CodeFormer3D if restores else VQAutoEncoder3D)(**network)
    except (InvalidOption, TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise UnsupportedCheckpoint(f"{path}: no network can be built from its arguments ({error}).") from error


def _check_types(state: Mapping[str, Tensor], path: Path) -> None:
    for name, value in state.items():
        if not value.is_floating_point():
            raise UnsupportedCheckpoint(f"{path}: {name} is {value.dtype}, but floating-point weights are needed.")


def _placed(value: Tensor, device: torch.device | str, dtype: torch.dtype | None) -> Tensor:
    # A copy: what is mapped from a file must not be written to.
    return value.to(device, dtype or value.dtype, copy=True)
