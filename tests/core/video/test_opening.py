"""What is no media file isn't opened as one: texts, and lists that name other files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.video.work import CASES, restore
from vividface_core.errors import UnreadableVideo, VividFaceError
from vividface_core.video.reader import VideoReader, probe

TEXTS = {
    "notes.txt": b"some notes about the film\n" * 200,
    "film.nfo": bytes(range(0xB0, 0xE0)) * 20 + b"\r\n released by nobody \r\n" * 40,
    "art.ans": b"\x1b[31mred\x1b[0m and \x1b[1;32mgreen\x1b[0m\r\n" * 60,
    "notes.mp4": "Кино и немцы. ".encode() * 300,
    "utf16.txt": "a text of another code".encode("utf-16") * 100,
    "page.html": b"<!DOCTYPE html><html><body>404</body></html>" * 40,
    "pointer.mp4": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n",
    "notes.diz": b"one two three\n" * 300,
    "captions.srt": b"1\n00:00:00,000 --> 00:00:01,000\nWords\n\n" * 20,
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(TEXTS[name])
    with pytest.raises(UnreadableVideo) as caught:
        restore(path, tmp_path / "o.mp4")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "o.mp4").exists()


LISTS = {
    "list.ffconcat": "ffconcat version 1.0\nfile secret.mp4\n",
    "list.mp4": "ffconcat version 1.0\nfile secret.mp4\n",
    "list.m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "list.mkv": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nsecret.mp4\n#EXT-X-ENDLIST\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_lists_are_followed_only_when_asked(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.mp4").write_bytes((CASES / "three-frames.mp4").read_bytes())
    path = tmp_path / name
    path.write_text(LISTS[name])
    with pytest.raises(UnreadableVideo, match="list of other files"):
        probe(path)
    if not name.endswith((".mp4", ".mkv")):  # ffmpeg itself looks at the name of an HLS list
        assert len(list(VideoReader(path, playlist=True))) == 3


def test_a_list_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes((CASES / "three-frames.mp4").read_bytes())
    (tmp_path / "list.ffconcat").write_text("ffconcat version 1.0\nfile clip.mp4\n")
    line = [
        sys.executable,
        "-m",
        "vividface_core.cli.main",
        "restore",
        str(tmp_path / "list.ffconcat"),
        "-o",
        str(tmp_path / "o.mp4"),
        "--quiet",
        "--strength",
        "0",
    ]
    refused = subprocess.run(line, capture_output=True, text=True)
    assert refused.returncode == 1 and "--allow-playlist" in refused.stderr and "Traceback" not in refused.stderr
    allowed = subprocess.run([*line, "--allow-playlist"], capture_output=True, text=True)
    assert allowed.returncode == 0, allowed.stderr
    assert probe(tmp_path / "o.mp4").frame_count == 3


def test_a_list_that_calls_itself_a_picture(tmp_path: Path) -> None:
    (tmp_path / "list.png").write_text(LISTS["list.ffconcat"])
    with pytest.raises(VividFaceError):
        probe(tmp_path / "list.png")
