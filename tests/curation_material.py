"""A folder of short real videos to curate: twelve sources, many people, and some that hold nothing to keep."""

from __future__ import annotations

from pathlib import Path

from tests.assets import CLIPS, clip, run_ffmpeg

OPTIONS = (
    "--judge",
    "technical",
    "--judge-fps",
    "30",
    "--frames",
    "9",
    "--size",
    "128",
    "--detector",
    "mtcnn",
    "--threshold",
    "88",
    "--min-face-side",
    "40",
    "--min-sharpness",
    "0.06",
    "--max-covered",
    "off",
    "--max-motion-distance",
    "0.2",
)
"""With which more than thirty clips of these videos come before the judge, who keeps some of them."""
SMALL = "scale=-2:180"
# Folder and name → source, first frame, frames, filter.
VIDEOS: dict[str, tuple[str, int, int, str]] = {
    "talks/franck-1.mp4": ("franck", 100, 29, SMALL),
    "talks/franck-2.mp4": ("franck", 2400, 20, SMALL),
    "talks/french/franck-3.mkv": ("franck", 4300, 20, SMALL),
    "talks/cap12-1.mp4": ("cap12", 60, 29, SMALL),
    "talks/cap12-2.mp4": ("cap12", 900, 20, SMALL),
    "talks/cap13.mp4": ("cap13", 300, 29, SMALL),
    "wolfgang.mp4": ("wolfgang", 200, 29, SMALL),
    "one face.mp4": ("single_face", 0, 29, SMALL),
    "one face again.mkv": ("single_face", 0, 29, "scale=-2:160,eq=brightness=0.06"),
    "comes.mov": ("noface_face", 135, 29, SMALL),
    "goes.mov": ("face_noface", 0, 20, SMALL),
    "phone/pristine.mp4": ("carphone", 0, 38, "null"),
    "phone/distorted.mp4": ("carphone_distorted", 40, 20, "null"),
    "blurred.mp4": ("wolfgang", 60, 11, f"{SMALL},gblur=sigma=6"),
    "far away.mp4": ("single_face", 30, 11, "scale=-2:80"),
    "short.mp4": ("franck", 700, 7, SMALL),
    "nobody/room.mp4": ("no_face", 0, 9, SMALL),
    "nobody/bikes.mp4": ("bikes", 20, 9, SMALL),
    "nobody/rabbit.mp4": ("bigbuckbunny", 10, 9, SMALL),
}
PICTURES = {
    "crowds/group.mp4": ("group_photo", 11, "scale=720:-2"),
    "crowds/five.mp4": ("multi_face", 11, "scale=640:-2"),
}
"""Photographs of several people, moved before the camera."""
BROKEN = "broken.mp4"


def source(name: str) -> Path:
    """Also the one that no other test needs."""
    if name == "carphone_distorted":
        return clip("carphone").with_name("carphone_distorted.mp4")
    assert name in CLIPS
    return clip(name)


def make_videos(folder: Path) -> Path:
    """Fill a folder; the same bytes on every run."""
    exact = ("-an", "-c:v", "libx264", "-preset", "veryfast", "-crf", "14", "-pix_fmt", "yuv420p", "-threads", "1")
    for place, (name, first, count, graph) in VIDEOS.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        cut = f"trim=start_frame={first}:end_frame={first + count},setpts=PTS-STARTPTS,{graph}"
        run_ffmpeg("-i", source(name), "-vf", cut, "-frames:v", count, *exact, folder / place)
    for place, (name, count, graph) in PICTURES.items():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        move = f"{graph},crop=iw-32:ih-32:n:n*0.5,crop=trunc(iw/2)*2:trunc(ih/2)*2"
        run_ffmpeg(
            "-loop", 1, "-framerate", 25, "-i", source(name), "-vf", move, "-frames:v", count, *exact, folder / place
        )
    (folder / BROKEN).write_text("this is no video\n" * 40)
    (folder / "notes.txt").write_text("not looked at")
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "secret.mp4").write_text("not looked at")
    return folder
