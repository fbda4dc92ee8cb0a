"""No path that is written is one that is read, by whatever name; and what exists is replaced only when asked."""

from __future__ import annotations

import json
import os

import pytest

from vividface_core.errors import InvalidOption, UnwritableVideo
from vividface_core.io.output_guard import (
    Source,
    Target,
    check_file,
    check_paths,
    ignores_case,
    is_within,
    place,
    scratch_of,
    unrelated,
)


@pytest.fixture
def names(tmp_path):
    """One file under every kind of name, and one that is another."""
    (tmp_path / "folder").mkdir()
    real = tmp_path / "folder" / "real.mp4"
    real.write_bytes(b"picture")
    (tmp_path / "link.mp4").symlink_to(real)
    (tmp_path / "chain.mp4").symlink_to("link.mp4")
    (tmp_path / "alias").symlink_to("folder", target_is_directory=True)
    os.link(real, tmp_path / "hard.mp4")
    (tmp_path / "other.mp4").write_bytes(b"picture")
    return tmp_path


@pytest.mark.parametrize(
    "name",
    [
        "folder/real.mp4",
        "folder/../folder/./real.mp4",
        "link.mp4",
        "chain.mp4",
        "alias/real.mp4",
        "hard.mp4",
    ],
)
def test_one_file_by_another_name_is_refused(names, name):
    source = Source(names / "folder" / "real.mp4", "the input")
    with pytest.raises(InvalidOption, match="the input itself"):
        check_paths([Target(names / name, "--output")], [source])
    check_paths([Target(names / "other.mp4", "--output")], [source])


def test_outputs_that_do_not_exist_yet_are_told_apart(names):
    (names / "far").symlink_to(names / "folder" / "new.mp4")
    for other in ("alias/new.mp4", "folder/x/../new.mp4", "far"):
        with pytest.raises(InvalidOption, match="--output too"):
            check_paths([Target(names / "folder" / "new.mp4", "--output"), Target(names / other, "--side-by-side")], [])
    check_paths([Target(names / "folder" / "new.mp4", "--output"), Target(names / "new.mp4", "--side-by-side")], [])


def test_other_case_is_one_file_where_the_disk_says_so(tmp_path):
    one, other = tmp_path / "Out.MP4", tmp_path / "out.mp4"
    assert place(one, ignore_case=True) == place(other, ignore_case=True)
    assert place(one, ignore_case=False) != place(other, ignore_case=False)
    # What the disk itself does when it is tried out.
    (tmp_path / "Probe").write_text("")
    assert ignores_case(tmp_path) == (tmp_path / "pROBE").exists()
    assert (place(one) == place(other)) == ignores_case(tmp_path)
    composed, decomposed = tmp_path / "caf\u00e9.mp4", tmp_path / "cafe\u0301.mp4"
    assert place(composed, ignore_case=True) == place(decomposed, ignore_case=True)


def test_nothing_that_is_read_lies_where_something_is_cleared(tmp_path):
    output = tmp_path / "out.mp4"
    for scratch in scratch_of(output):
        scratch.mkdir()
        (scratch / "in.mp4").write_bytes(b"")
        with pytest.raises(InvalidOption, match="is cleared for --output"):
            check_paths([Target(output, "--output")], [Source(scratch / "in.mp4", "the input")])
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "dit.ckpt").write_bytes(b"")
    with pytest.raises(InvalidOption, match="is cleared for --output"):
        check_paths([Target(folder, "--output", whole=True)], [Source(folder / "deep" / "dit.ckpt", "--dit")])


def test_a_part_of_a_folder_that_is_read_is_refused(tmp_path):
    frames = tmp_path / "frames"
    frames.mkdir()
    (frames / "001.png").write_bytes(b"")
    with pytest.raises(InvalidOption, match="a part of the input"):
        check_paths([Target(frames / "001.png", "--output")], [Source(frames, "the input")])
    check_paths([Target(frames / "new.mp4", "--output")], [Source(frames, "the input")])
    assert is_within(frames / "001.png", frames) and not is_within(frames, frames / "001.png")


def test_form_is_checked_before_the_work(tmp_path):
    (tmp_path / "folder").mkdir()
    for path, suffixes, word in (
        (tmp_path / "no" / "r.json", (), "does not exist"),
        (tmp_path / "folder", (), "that is a folder"),
        ("/dev/null", (), "no ordinary file"),
        (tmp_path / "clip.mp4", (), "another kind"),
        (tmp_path / "weights.safetensors", (), "another kind"),
        (tmp_path / "side.txt", (".mp4", ".mkv"), ".mp4 or .mkv"),
    ):
        with pytest.raises((InvalidOption, UnwritableVideo), match=word):
            check_file(type(tmp_path)(path), "--json", suffixes)
    check_file(tmp_path / "r.json", "--json")
    check_file(tmp_path / "r", "--json")


def test_what_an_earlier_run_wrote_is_known(tmp_path):
    mine, theirs, broken, link = (tmp_path / name for name in ("mine.json", "theirs.json", "broken.json", "link.json"))
    mine.write_text(json.dumps({"files": [], "counts": {}, "servers": []}))
    theirs.write_text(json.dumps({"files": [], "my own": 1}))
    broken.write_bytes(b"\xff\xfe{")
    link.symlink_to(tmp_path / "nowhere")
    everything = [mine, theirs, broken, link, tmp_path / "absent.json"]
    assert unrelated(everything, ("files", "counts", "servers")) == [theirs, broken, link]
    assert unrelated(everything) == [mine, theirs, broken, link]
