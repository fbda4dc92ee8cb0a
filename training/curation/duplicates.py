"""Which clips are the same moment of the same face, though re-encoded, resized or lit otherwise.

A perceptual hash over space and time, after pHash: of nine moments spread over the clip the luma, 32×32, its mean taken
off and divided by its deviation, goes through the discrete cosine transform, of which the lowest 8×8 frequencies but
the first remain. One bit tells each coefficient's sign; two more, whether it rises or falls to the next moment, if it
moves at all. Two clips are duplicates if few of the signs differ and few of the moves: the first tells faces and places
apart, the second the moments of one talking head, whose pictures are much alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vividface_core.errors import InvalidOption
from vividface_core.luma import BT709

if TYPE_CHECKING:
    from training.curation.thresholds import Thresholds

VERSION = 1
"""Of how hashes are made; those of another one aren't compared."""
MOMENTS, SIDE, LOW = 9, 32, 8
STILL = 0.002
"""A coefficient that moves less than this, in units of the picture's deviation, counts as still."""
SLACK = 0.1
"""Share of all moves that is added to those that two clips have, so that a few moves of a still clip don't decide."""
_EACH = LOW * LOW - 1
_SIGNS, _MOVES = MOMENTS * _EACH, (MOMENTS - 1) * _EACH
_BYTES = (_SIGNS + 2 * _MOVES + 7) // 8
_BLOCK = 1024


def clip_hash(frames: Tensor) -> str:
    """The hash of a clip ``[T, 3, S, S]`` RGB 0…1, as hexadecimal digits. Clips that are compared have one length."""
    at = torch.linspace(0, len(frames) - 1, MOMENTS).round().long()
    small = F.interpolate(frames[at.to(frames.device)].float(), (SIDE, SIDE), mode="area").cpu().double().numpy()
    luma = np.tensordot(small, BT709, axes=(1, 0)) * 255
    luma = luma - luma.mean((1, 2), keepdims=True)
    luma = luma / (luma.std() + 1)
    basis = _cosines()
    low = (basis @ luma @ basis.T / SIDE).reshape(MOMENTS, -1)[:, 1:]
    moves = np.diff(low, axis=0)
    bits = np.concatenate([(low > 0).ravel(), (moves > STILL).ravel(), (moves < -STILL).ravel()])
    return np.packbits(bits).tobytes().hex()


def _cosines() -> np.ndarray:
    """The lowest rows ``[8, 32]`` of the orthonormal DCT-II."""
    place, wave = (np.arange(SIDE) + 0.5) * np.pi / SIDE, np.arange(LOW)[:, None]
    return np.cos(wave * place) * np.where(wave == 0, np.sqrt(1 / SIDE), np.sqrt(2 / SIDE))


def distances(one: str, other: str) -> tuple[float, float]:
    """How two hashes differ: the share of signs that differ, and of the moves that either clip has, those that the
    other has not; 0…1."""
    (signs, moves), (signs2, moves2) = (_read([text]) for text in (one, other))
    return float((signs != signs2).mean()), float(_apart(moves, moves2)[0])


def _read(hashes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Signs ``[N, 567]`` and moves ``[N, 1008]`` (rises, then falls), bool."""
    try:
        packed = np.stack([np.frombuffer(bytes.fromhex(text), np.uint8) for text in hashes])
    except ValueError as error:
        raise InvalidOption(f"A clip's hash can't be read ({error}); measure the clips again.") from error
    if packed.shape[1] != _BYTES:
        raise InvalidOption(f"A clip's hash has {packed.shape[1]} bytes, not {_BYTES}; measure the clips again.")
    bits = np.unpackbits(packed, axis=1).astype(bool)
    return bits[:, :_SIGNS], bits[:, _SIGNS : _SIGNS + 2 * _MOVES]


def _apart(moves: np.ndarray, others: np.ndarray) -> np.ndarray:
    either = (moves | others).sum(-1)
    return (moves ^ others).sum(-1) / (either + SLACK * _MOVES)


def _mirrored(signs: np.ndarray, moves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of the mirror image: in odd waves across the picture every sign turns."""
    odd = (np.arange(1, LOW * LOW) % LOW) % 2 == 1
    rises, falls = moves[:, :_MOVES], moves[:, _MOVES:]
    turned = np.tile(odd, MOMENTS - 1)
    return signs ^ np.tile(odd, MOMENTS), np.hstack([np.where(turned, falls, rises), np.where(turned, rises, falls)])


def find_duplicates(rows: Sequence[tuple[str, str, float]], limits: Thresholds) -> dict[str, str]:
    """Clips that are another's duplicate, and of which.

    The best clip is kept, then the best of those that aren't its duplicates, and so on: of two duplicates the one of
    the higher quality stays, of equal ones that whose key comes first. The order of ``rows`` doesn't matter.

    Args:
        rows: key, hash, quality.
        limits: ``max_distance``, ``max_motion_distance`` and ``mirrored_duplicates`` count.

    Returns:
        Key of the dropped clip → key of the kept one.

    Raises:
        InvalidOption: hashes of another kind, or two clips of one key.
    """
    ordered = sorted(rows, key=lambda row: (-row[2], row[0]))
    keys = [key for key, _, _ in ordered]
    if len(set(keys)) < len(keys):
        raise InvalidOption("Two clips have the same key; their duplicates can't be told apart.")
    if not ordered:
        return {}
    signs, moves = _read([text for _, text, _ in ordered])
    looks = [(signs, moves)] + ([_mirrored(signs, moves)] if limits.mirrored_duplicates else [])
    pairs = sorted(pair for look in looks for pair in _near(signs, moves, *look, limits))
    duplicate: dict[str, str] = {}
    for later, earlier in pairs:
        if keys[later] not in duplicate and keys[earlier] not in duplicate:
            duplicate[keys[later]] = keys[earlier]
    return duplicate


def _near(
    signs: np.ndarray, moves: np.ndarray, signs2: np.ndarray, moves2: np.ndarray, limits: Thresholds
) -> Iterator[tuple[int, int]]:
    """Places (later, earlier) of clips within the limits, the first look of one against the second of the other."""
    second = np.where(signs2, 1.0, -1.0).astype(np.float32)
    for start in range(0, len(signs), _BLOCK):
        block = np.where(signs[start : start + _BLOCK], 1.0, -1.0).astype(np.float32)
        # The product of signs counts those that agree, less those that don't.
        differ = (1 - block @ second[: start + len(block)].T / _SIGNS) / 2
        for row, column in np.argwhere(differ <= limits.max_distance + 1e-6):
            later, earlier = start + int(row), int(column)
            if earlier < later and _apart(moves[later], moves2[earlier]) <= limits.max_motion_distance:
                yield later, earlier
