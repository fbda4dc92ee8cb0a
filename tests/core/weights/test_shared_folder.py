"""A models folder belongs to everybody: whatever lies in it, the listing tells what is ours."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

from tests.tiny import save_tiny_checkpoint
from vividface_core.cli.main import main
from vividface_core.io import folders
from vividface_core.weights import inspect, list_checkpoints, load_restorer, where


def dangling(folder: Path) -> None:
    (folder / "gone.safetensors").symlink_to(folder / "nowhere.safetensors")
    (folder / "gone-folder").symlink_to(folder / "nowhere")


def link_to_itself(folder: Path) -> None:
    (folder / "loop.ckpt").symlink_to("loop.ckpt")
    (folder / "here").symlink_to(".", target_is_directory=True)
    (folder / "sub" / "up").symlink_to("..", target_is_directory=True)


def unreadable_content(folder: Path) -> None:
    # Opening works, reading is an error of the device, for whoever asks.
    (folder / "broken.safetensors").symlink_to("/proc/self/mem")
    (folder / "broken.ckpt").symlink_to("/proc/self/mem")


def rubbish(folder: Path) -> None:
    for number, content in enumerate((b"", b"\x80", b"PK\x03\x04", b"GGUF", b"\xff" * 64, b"[" * 100_000)):
        for suffix in (".safetensors", ".pth", ".gguf", ".ckpt"):
            (folder / f"rubbish-{number}{suffix}").write_bytes(content)
    (folder / "half").mkdir()
    (folder / "half" / "vividface.json").write_bytes(b"\xff\xfe{")
    (folder / "deep").mkdir()
    (folder / "deep" / "vividface.json").write_text("[" * 100_000)
    (folder / "card").mkdir()
    (folder / "card" / "vividface.json").symlink_to("/proc/self/mem")
    (folder / "named.safetensors").mkdir()
    os.mkfifo(folder / "pipe.safetensors")


@pytest.fixture
def shared(tmp_path) -> Path:
    """A folder with a checkpoint of ours at the top and one two levels below."""
    save_tiny_checkpoint(tmp_path / "mine")
    (tmp_path / "sub" / "people").mkdir(parents=True)
    save_tiny_checkpoint(tmp_path / "sub" / "people" / "other")
    return tmp_path


@pytest.mark.parametrize("spoil", [dangling, link_to_itself, unreadable_content, rubbish])
def test_nothing_that_lies_there_breaks_the_listing(shared, spoil, capsys):
    spoil(shared)
    names = [info.name for info in list_checkpoints([shared])]
    assert names[-2:] == ["mine", "sub/people/other"] and names.count("mine") == 1
    assert main(["models", "list", "--models-dir", str(shared)]) == 0
    assert "sub/people/other" in capsys.readouterr().out


def test_a_folder_that_may_not_be_read(shared):
    """As a user who isn't root, who may read everything."""
    (shared / "locked").mkdir()
    save_tiny_checkpoint(shared / "locked" / "theirs")
    (shared / "sub" / "locked.ckpt").write_bytes(b"x")
    for path, mode in ((shared / "locked", 0), (shared / "sub" / "locked.ckpt", 0)):
        path.chmod(mode)
    before = os.geteuid()
    # Up to the system's own temporary folder: pytest's are private.
    modes = {place: place.stat().st_mode for place in (shared, *shared.parents)} if before == 0 else {}
    for place, mode in modes.items():
        place.chmod(mode | 0o055)
    if before == 0:
        os.seteuid(65534)
    try:
        names = [info.name for info in list_checkpoints([shared])]
    finally:
        os.seteuid(before)
        (shared / "locked").chmod(0o755)
        for place, mode in modes.items():
            place.chmod(mode)
    assert names[-2:] == ["mine", "sub/people/other"]


def test_files_that_vanish_meanwhile(shared):
    (shared / "a").mkdir()
    for number in range(3):
        (shared / "a" / f"{number}.ckpt").write_bytes(b"x")
    seen = []
    for folder, found in folders.walk(shared):
        if folder.name == "a":
            seen = found
            for path in found:
                path.unlink()
    assert [folders.size_of(path) for path in seen] == [0, 0, 0] and not any(map(folders.is_file, seen))


def test_what_is_left_out_is_said_once(shared, caplog):
    dangling(shared)
    with caplog.at_level(logging.WARNING, "vividface"):
        for _ in range(3):
            list_checkpoints([shared])
    said = [record.getMessage() for record in caplog.records if str(shared) in record.getMessage()]
    assert len(said) == 2 and all("link to nothing" in line for line in said)


def test_a_model_in_a_subfolder_is_loaded_by_its_place(shared):
    assert where("sub/people/other", [shared]) == shared / "sub" / "people" / "other"
    clip = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    restored = [load_restorer(name, folders=[shared]).restore(clip) for name in ("mine", "sub/people/other")]
    assert torch.equal(*restored)
    assert inspect(where("mine", [shared])).kind == "checkpoint folder"
