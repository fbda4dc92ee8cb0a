"""How the odd inputs are made: by ffmpeg, by Pillow, or byte by byte. Each maker is called with the folder to fill."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.assets import run_ffmpeg
from vividface_core.video.display_matrix import set_display_matrix
from vividface_core.video.orientation import matrix_of

Make = Callable[[Path], None]
ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
WORKFLOW = ROOT / "workflows" / "api" / "restore_video.api.json"
X264 = ("-c:v", "libx264", "-preset", "veryfast", "-pix_fmt", "yuv420p")
X265 = ("-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none")
FFV1 = ("-c:v", "ffv1")
DV = ("-vf", "scale=720:480,setsar=8/9", "-c:v", "dvvideo", "-pix_fmt", "yuv411p", "-c:a", "pcm_s16le", "-ac", "2")
FIELDS = ("-vf", "scroll=h=0.02,tinterlace=interleave_top,setfield=tff")
INTERLACED = ("-flags", "+ildct+ilme")


def ffmpeg(*arguments: object) -> None:
    """Run ffmpeg; each argument is one word."""
    run_ffmpeg(*arguments)


def clip(
    name: str,
    *options: object,
    sound: bool = False,
    size: str = "96x64",
    rate: int | str = 24,
    seconds: float = 0.25,
    inputs: Sequence[object] = (),
    turned: int = 0,
    mirrored: bool = False,
) -> Make:
    """A moving test picture, six frames unless told otherwise, with a tone if wanted.

    Args:
        options: of the output.
        inputs: further inputs, as words; they come behind the picture and the tone.
        turned, mirrored: of a display matrix (mp4 and mov).
    """

    def make(folder: Path) -> None:
        tone = ("-f", "lavfi", "-i", f"sine=r=48000:d={seconds}") if sound else ()
        more = [str(word).replace("{folder}", str(folder)) for word in inputs]
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s={size}:r={rate}:d={seconds}", *tone, *more, *options, folder / name)
        if turned or mirrored:
            width, height = map(int, size.split("x"))
            set_display_matrix(folder / name, matrix_of(mirrored, turned, width, height))

    return make


def case(name: str, target: str = "") -> Make:
    """One of the repository's small files that were hard."""

    def make(folder: Path) -> None:
        path = CASES / name
        copy = shutil.copytree if path.is_dir() else shutil.copyfile
        copy(path, folder / (target or name))

    return make


def raw(name: str | bytes, content: bytes | str) -> Make:
    """A file of these bytes."""

    def make(folder: Path) -> None:
        data = content.encode() if isinstance(content, str) else content
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)

    return make


def all_of(*makers: Make) -> Make:
    """One after the other."""

    def make(folder: Path) -> None:
        for one in makers:
            one(folder)

    return make


def changed(name: str, change: Callable[[bytes], bytes], target: str = "") -> Make:
    """A file's bytes changed."""

    def make(folder: Path) -> None:
        path = folder / name
        data = change(path.read_bytes())
        path.unlink()
        (folder / (target or name)).write_bytes(data)

    return make


def cut(name: str, share: float) -> Make:
    """The first part of a file, up to an odd place."""
    return changed(name, lambda data: data[: round(share * len(data)) | 1])


def remade(name: str, target: str, *options: object, before: Sequence[object] = ()) -> Make:
    """A file of ffmpeg's made of another one, which goes away; ``before`` are options of the input, and ``{folder}`` in
    others stands for the folder."""

    def make(folder: Path) -> None:
        words = [str(word).replace("{folder}", str(folder)) for word in options]
        ffmpeg(*before, "-i", folder / name, *words, folder / target)
        if name != target:
            (folder / name).unlink()

    return make


def joined(target: str, *names: str) -> Make:
    """Files one behind the other, byte by byte; they go away."""

    def make(folder: Path) -> None:
        (folder / target).write_bytes(b"".join((folder / name).read_bytes() for name in names))
        for name in names:
            (folder / name).unlink()

    return make


def renamed(name: str, target: str) -> Make:
    """Another name."""

    def make(folder: Path) -> None:
        (folder / name).rename(folder / target)

    return make


def link(name: str, to: str, *, hard: bool = False) -> Make:
    """A link called ``name``."""

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if hard:
            os.link(folder / to, folder / name)
        else:
            (folder / name).symlink_to(to)

    return make


def pipe(name: str) -> Make:
    """A FIFO, which nobody writes into."""

    def make(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(folder / name)

    return make


def picture(name: str, mode: str = "RGB", level: int = 90, *, size: tuple[int, int] = (64, 48), **options) -> Make:
    """One picture with a brighter top left quarter, by Pillow."""

    def make(folder: Path) -> None:
        image = Image.new("RGB", size, (level, level, level))
        image.paste((200, 120, 60), (0, 0, size[0] // 2, size[1] // 2))
        image = image.convert(mode)
        if mode in ("RGBA", "LA"):
            image.putalpha(Image.linear_gradient("L").resize(size))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name, **options)

    return make


def turned_picture(name: str, orientation: int) -> Make:
    """A picture with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return picture(name, exif=exif)


def animation(name: str, kind: str, *, mode: str = "RGB", **options) -> Make:
    """Four pictures in one file, 40 ms each."""

    def make(folder: Path) -> None:
        pages = []
        for level in (20, 80, 140, 200):
            page = Image.fromarray(np.full((48, 64, 3), level, np.uint8)).convert(mode)
            if mode == "RGBA":
                page.putalpha(level)
            pages.append(page)
        times = {} if kind == "TIFF" else {"duration": 40, "loop": 0}
        pages[0].save(folder / name, kind, save_all=True, append_images=pages[1:], **times, **options)

    return make


def numbered(folder_name: str, numbers: Sequence[int], *, suffix: str = ".png") -> Make:
    """A folder of numbered pictures."""
    return all_of(*(picture(f"{folder_name}/shot_{n:04d}{suffix}", level=10 + n % 200) for n in numbers))


def workflow(name: str, change: Callable[[str], str] = str, encoding: str = "utf-8") -> Make:
    """The pack's own workflow for the API, changed as text."""
    return raw(name, change(WORKFLOW.read_text(encoding="utf-8")).encode(encoding))


def with_comments(text: str) -> str:
    """JSON as some editors write it."""
    return "// my workflow\n" + text


def indented(text: str) -> str:
    """The same JSON, otherwise laid out."""
    return json.dumps(json.loads(text), indent=4)
