"""The list of a data set: a JSON line a clip, and the same as a Parquet table."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from vividface_core.errors import InvalidOption, MissingDependency, UnwritableVideo

Row = Mapping[str, Any]
_TEXTS = (
    "key",
    "video",
    "content",
    "fps",
    "hash",
    "state",
    "stage",
    "duplicate_of",
    "judge",
    "tier",
    "overruled",
    "clip",
)
_WHOLE, _REAL = ("first", "frames", "track"), ("face_side", "detector_score", "final")


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """As JSON lines, whole or not at all; the same rows give the same bytes.

    Raises:
        UnwritableVideo: it can't be written.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            for row in rows:
                file.write(json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except OSError as error:
        raise UnwritableVideo(f"The manifest can't be written to {path}: {error.strerror}.") from error


def read_manifest(path: Path) -> list[dict[str, Any]]:
    """Its rows.

    Raises:
        InvalidOption: it can't be read or is no manifest.
    """
    try:
        rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InvalidOption(f"The manifest {path} can't be read ({error}). Run vividface curate again.") from error
    if not all(isinstance(row, dict) and {"key", "state", "clip"} <= row.keys() for row in rows):
        raise InvalidOption(f"{path} is no manifest of vividface curate.")
    return rows


def kept_clips(path: Path) -> list[Path]:
    """Files of the clips that a manifest keeps.

    Raises:
        InvalidOption: it is no manifest, keeps nothing, or a clip is missing.
    """
    clips = [Path(path).parent / row["clip"] for row in read_manifest(path) if row["state"] == "kept" and row["clip"]]
    if not clips:
        raise InvalidOption(f"{path} keeps no clip.")
    for clip in clips:
        if not clip.is_file():
            raise InvalidOption(f"{clip} is missing, though {path} lists it. Run vividface curate again.")
    return clips


def rejected_videos(path: Path) -> set[str]:
    """Names without suffix of the videos of which a manifest has clips and keeps none.

    Raises:
        InvalidOption: it is no manifest.
    """
    rows = read_manifest(path)
    names = {Path(row["video"]).stem for row in rows}
    return names - {Path(row["video"]).stem for row in rows if row["state"] == "kept"}


def load_pyarrow() -> Any:
    """pyarrow with its Parquet module.

    Raises:
        MissingDependency: it is absent or broken.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except Exception as error:  # a broken installation raises anything
        raise MissingDependency(
            f"--parquet needs pyarrow, which does not import here ({error}). Install it with: pip install pyarrow"
        ) from error
    return pyarrow


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """The manifest as a table, whole or not at all: figures and the judge's scores as columns ``figure_…`` and
    ``score_…``, the whole judgement as JSON text.

    Raises:
        MissingDependency: pyarrow is absent or broken.
        UnwritableVideo: it can't be written.
    """
    arrow = load_pyarrow()
    text, whole, real = arrow.string(), arrow.int64(), arrow.float64()
    kinds = {
        **dict.fromkeys(_TEXTS, text),
        **dict.fromkeys(_WHOLE, whole),
        **dict.fromkeys(_REAL, real),
        "crop": arrow.list_(real),
        "causes": arrow.list_(text),
        "judgement": text,
    }
    figures = list(dict.fromkeys(name for row in rows for name in row["figures"] or ()))
    scores = list(dict.fromkeys(name for row in rows for name in _scores(row)))
    kinds |= dict.fromkeys([f"figure_{name}" for name in figures] + [f"score_{name}" for name in scores], real)
    flat = [_flat(row) for row in rows]
    columns = {name: [row.get(name) for row in flat] for name in kinds}
    table = arrow.table(columns, schema=arrow.schema(list(kinds.items())))
    partial = path.with_name(f".{path.name}.partial")
    try:
        arrow.parquet.write_table(table, partial)
        os.replace(partial, path)
    except OSError as error:
        raise UnwritableVideo(f"The table can't be written to {path}: {error.strerror or error}.") from error
    finally:
        partial.unlink(missing_ok=True)


def _scores(row: Row) -> Mapping[str, float]:
    return row["judgement"]["assessment"]["scores"] if row["judgement"] else {}


def _flat(row: Row) -> dict[str, Any]:
    judgement = json.dumps(row["judgement"], ensure_ascii=False) if row["judgement"] else None
    figures = {f"figure_{name}": value for name, value in (row["figures"] or {}).items()}
    scores = {f"score_{name}": value for name, value in _scores(row).items()}
    return {**row, "judgement": judgement, **figures, **scores}
