"""The end of a curation, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from training.curation.dataset import DataSet
from training.curation.decisions import Row, Video
from training.curation.review.groups import dropped_groups


def summary(rows: Sequence[Row], videos: Sequence[Video], data: DataSet, *, dry: bool = False) -> str:
    """How many clips were kept, what the others were dropped for, and where everything lies."""
    clips = [row for row in rows if row["first"] is not None]
    states = Counter(row["state"] for row in clips)
    groups = dropped_groups(rows)
    wide = max((len(stage) for stage, _ in groups), default=0)
    lines = [f"{stage:<{wide}}  {len(found):6d}  {cause}" for (stage, cause), found in groups.items()]
    person = sum(row["overruled"] == "keep" and row["stage"] == "person" for row in clips)
    failed = sum(bool(video.error) for video in videos)
    head = f"{_counted(len(videos), 'video')}, {_counted(len(clips), 'clip')}: {states['kept']} "
    head += "would go before the judge" if dry else "kept"
    head += f" ({person} of them by a person)" if person else ""
    head += f", {states['dropped']} dropped" + (f", {states['failed']} failed" if states["failed"] else "")
    head += f"; {_counted(failed, 'video')} failed" if failed else ""
    places = (data.out / "dry-run.html", data.out / "dry-run.jsonl") if dry else (data.review, data.manifest)
    return "\n".join([*lines, head, *(str(place) for place in places)])


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' * (number != 1)}"
