"""What becomes of each candidate: a pure function of records, limits, threshold, calibration and a person's word.

A row tells of nothing but what its own way through the stages needed, so that it is the same whatever earlier runs
found out about other clips, or about this one under other limits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.curation.clip_stats import ClipStats
from training.curation.dataset import CLIP_SUFFIX
from training.curation.duplicates import find_duplicates
from training.curation.human_labels import HumanLabel
from training.curation.thresholds import Thresholds
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.rubric import RUBRIC, Rubric, rubric_version

Record = Mapping[str, Any]
Row = dict[str, Any]


@dataclass(frozen=True)
class Policy:
    """What decides.

    Attributes:
        frames: of a whole clip.
        threshold: a final score above it keeps a clip; ``None``: the rubric's.
        overrules: by the clip's key.
        judged: false: there is no judge, and what passes the technical stages is kept.
    """

    frames: int
    limits: Thresholds = field(default_factory=Thresholds)
    rubric: Rubric = RUBRIC
    threshold: float | None = None
    calibration: Calibration | None = None
    overrules: Mapping[str, HumanLabel] = field(default_factory=dict)
    judged: bool = True

    @property
    def keep_above(self) -> float:
        """The threshold that holds."""
        return self.rubric.keep_above if self.threshold is None else self.threshold

    def verdict(self, key: str) -> str | None:
        """A person's: ``keep``, ``drop`` or none."""
        return self.overrules[key].verdict if key in self.overrules else None


@dataclass(frozen=True)
class Video:
    """A video as it was found.

    Attributes:
        id: what the keys of its clips begin with.
        record: facts and candidates; ``None``: it failed.
        error: why.
    """

    video: str
    id: str
    content: str | None
    record: Record | None
    error: str = ""

    @property
    def clips(self) -> Sequence[Record]:
        """Its candidates."""
        return self.record["clips"] if self.record else ()


@dataclass
class Findings:
    """What is known about candidates, by key.

    Attributes:
        figures: records with ``figures`` and ``hash``.
        judgements: records with ``judge`` and ``judgement``.
        errors: of candidates that couldn't be measured or judged.
    """

    figures: dict[str, Record] = field(default_factory=dict)
    judgements: dict[str, Record] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Why a candidate is dropped (or failed), and where that was decided."""

    stage: str
    causes: tuple[str, ...]
    duplicate_of: str | None = None
    state: str = "dropped"


def to_measure(videos: Iterable[Video], policy: Policy) -> Iterator[tuple[Video, Record]]:
    """The candidates whose pixels must be looked at: those that aren't dropped for what their track tells already,
    and those that a person keeps."""
    for video in videos:
        for clip in video.clips:
            if clip["frames"] == policy.frames and (
                not policy.limits.track_faults(clip["face_side"], clip["seen"]) or policy.verdict(clip["key"]) == "keep"
            ):
                yield video, clip


def screened(videos: Iterable[Video], found: Findings, policy: Policy) -> dict[str, Verdict]:
    """Candidates that are dropped before a judge sees them, by key."""
    verdicts: dict[str, Verdict] = {}
    passed = []
    for video in videos:
        for clip in video.clips:
            key = clip["key"]
            if verdict := _screened_one(clip, found, policy):
                verdicts[key] = verdict
            else:
                record = found.figures[key]
                passed.append((key, record["hash"], quality(ClipStats.from_json(record["figures"]))))
    for key, kept in find_duplicates(sorted(passed), policy.limits).items():
        verdicts[key] = Verdict("duplicate", (f"looks like {kept}",), kept)
    return verdicts


def _screened_one(clip: Record, found: Findings, policy: Policy) -> Verdict | None:
    if clip["frames"] < policy.frames:
        return Verdict("cut", (f"only {clip['frames']} of {policy.frames} frames with this face",))
    if faults := policy.limits.track_faults(clip["face_side"], clip["seen"]):
        return Verdict("technical", faults)
    if clip["key"] in found.errors and clip["key"] not in found.figures:
        return Verdict("technical", (found.errors[clip["key"]],), state="failed")
    faults = policy.limits.faults(ClipStats.from_json(found.figures[clip["key"]]["figures"]))
    return Verdict("technical", faults) if faults else None


def quality(figures: ClipStats) -> float:
    """Which of several like clips is the best: that with the most detail of the source itself."""
    return figures.sharpness * figures.face_side


def to_judge(videos: Iterable[Video], screened: Mapping[str, Verdict]) -> list[str]:
    """Keys of the clips that go before the judge, whatever a person says about them: calibrations need both."""
    return [clip["key"] for video in videos for clip in video.clips if clip["key"] not in screened]


def rows_of(videos: Iterable[Video], found: Findings, policy: Policy) -> list[Row]:
    """The manifest, sorted by video, first frame and track."""
    videos = list(videos)
    verdicts = screened(videos, found, policy)
    measured = {clip["key"] for _, clip in to_measure(videos, policy)}
    rows = []
    for video in sorted(videos, key=lambda video: video.video):
        if not video.clips:
            rows.append(_overruled(_row_of_video(video), policy.verdict(video.id)))
        for clip in sorted(video.clips, key=lambda clip: (clip["first"], clip["track"])):
            figures = found.figures.get(clip["key"]) if clip["key"] in measured else None
            rows.append(_row(video, clip, figures, found, verdicts.get(clip["key"]), policy))
    return rows


def _row_of_video(video: Video) -> Row:
    """Of one that has no candidate."""
    cause, state = (video.error, "failed") if video.error else ("no face was found", "dropped")
    return {
        **_EMPTY,
        "key": video.id,
        "video": video.video,
        "content": video.content,
        "state": state,
        "stage": "cut",
        "causes": [cause],
    }


def _row(
    video: Video, clip: Record, figures: Record | None, found: Findings, verdict: Verdict | None, policy: Policy
) -> Row:
    key = clip["key"]
    assert video.record is not None  # its clips are of it
    row = {
        **_EMPTY,
        "video": video.video,
        "content": video.content,
        "fps": video.record["fps"],
        **{name: clip[name] for name in ("key", "first", "frames", "track", "crop", "face_side", "detector_score")},
    }
    if figures:
        row |= {"figures": dict(figures["figures"]), "hash": figures["hash"]}
    if verdict:
        row |= {
            "state": verdict.state,
            "stage": verdict.stage,
            "causes": list(verdict.causes),
            "duplicate_of": verdict.duplicate_of,
        }
    elif policy.judged:
        row |= _judged(found.judgements.get(key), found.errors.get(key, "not judged"), policy)
    else:
        row |= {"state": "kept", "stage": "technical"}
    return _published(_overruled(row, policy.verdict(key)))


def _judged(record: Record | None, error: str, policy: Policy) -> Row:
    if record is None:
        return {"state": "failed", "stage": "judge", "causes": [error]}
    judgement, final = record["judgement"], record["judgement"]["assessment"]["final"]
    if policy.calibration is not None:
        final = policy.calibration.correct(final, rubric=rubric_version(policy.rubric), judge=record["judge"])
    kept = final > policy.keep_above
    cause = f"score {final:g} is not above {policy.keep_above:g}"
    return {
        "judge": record["judge"],
        "judgement": judgement,
        "final": final,
        "tier": policy.rubric.tier(final),
        "state": "kept" if kept else "dropped",
        "stage": "judge",
        "causes": [] if kept else [cause],
    }


def _overruled(row: Row, verdict: str | None) -> Row:
    """By a person, where it makes a difference. Causes stay: they tell what was overruled."""
    if verdict == "drop" and row["state"] != "dropped":
        return {**row, "state": "dropped", "stage": "person", "overruled": "drop"}
    # A clip that is too short, or whose video can't be read, can't be kept.
    if verdict == "keep" and row["state"] != "kept" and row["hash"] is not None:
        return {**row, "state": "kept", "stage": "person", "overruled": "keep"}
    return {**row, "overruled": verdict}


def _published(row: Row) -> Row:
    return {**row, "clip": f"clips/{row['key']}{CLIP_SUFFIX}" if row["state"] == "kept" else None}


_EMPTY: Row = {
    "key": None,
    "video": None,
    "content": None,
    "first": None,
    "frames": None,
    "fps": None,
    "track": None,
    "crop": None,
    "face_side": None,
    "detector_score": None,
    "figures": None,
    "hash": None,
    "state": None,
    "stage": None,
    "causes": [],
    "duplicate_of": None,
    "judge": None,
    "judgement": None,
    "final": None,
    "tier": None,
    "overruled": None,
    "clip": None,
}
"""All fields of a row, in their order."""
