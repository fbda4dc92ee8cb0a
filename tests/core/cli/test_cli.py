"""Bad input at the command line: one clear sentence, a non-zero exit, nothing written."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.assets import clip, run_ffmpeg
from tests.command import in_a_process, one_sentence, vividface
from tests.tiny import save_tiny_checkpoint


def bad_inputs(folder):
    text = folder / "text.mp4"
    text.write_text("this is no video\n" * 50)
    yield text, ["text.mp4"]
    yield folder / "missing.mp4", ["missing.mp4"]
    whole = clip("single_face").read_bytes()
    half = folder / "half.mp4"
    half.write_bytes(whole[: len(whole) // 2])
    yield half, ["half.mp4"]
    empty = folder / "empty.mp4"
    empty.write_bytes(b"")
    yield empty, ["empty.mp4"]
    sound = folder / "sound.m4a"
    run_ffmpeg("-f", "lavfi", "-i", "sine=duration=1", "-c:a", "aac", sound)
    yield sound, ["sound.m4a"]
    frameless = folder / "frameless.mp4"
    run_ffmpeg("-f", "lavfi", "-i", "color=black:s=64x64:d=1", "-frames:v", "0", "-c:v", "libx264", frameless)
    yield frameless, ["frameless.mp4"]


@pytest.mark.parametrize("number", range(6), ids=["text", "missing", "half", "empty", "audio", "frameless"])
def test_unreadable_inputs(number, tmp_path, tiny_checkpoint):
    source, words = list(bad_inputs(tmp_path))[number]
    output = tmp_path / "out.mp4"
    one_sentence(vividface("restore", source, "-o", output, "--model", tiny_checkpoint), *words)
    assert not output.exists()
    assert not (tmp_path / ".out.mp4.vividface").exists()


@pytest.mark.parametrize("size", ["1x1", "3x3", "319x239"])
def test_odd_sizes_come_out_in_their_size(size, tmp_path, tiny_checkpoint):
    source, output = tmp_path / "in.mkv", tmp_path / "out.mkv"
    run_ffmpeg(
        "-i",
        clip("franck"),
        "-vf",
        f"scale={size.replace('x', ':')}",
        "-frames:v",
        "5",
        "-c:v",
        "ffv1",
        "-level",
        "1",  # later ones divide a picture into slices, for which this one has too few pixels
        "-pix_fmt",
        "yuv420p",
        source,
    )
    run = vividface("restore", source, "-o", output, "--model", tiny_checkpoint, "--preset", "ffv1", "--size", "64")
    assert run.returncode == 0, run.stderr
    from vividface_core.video.reader import probe

    assert f"{probe(output).width}x{probe(output).height}" == size


def test_a_poisoned_checkpoint_never_makes_a_black_video(tmp_path):
    model = save_tiny_checkpoint(tmp_path / "model", poison=True)
    source, output = tmp_path / "in.mp4", tmp_path / "out.mp4"
    run_ffmpeg("-i", clip("single_face"), "-frames:v", 9, "-c", "copy", source)
    run = vividface("restore", source, "-o", output, "--model", model, "--size", "64")
    one_sentence(run, "NaN")
    assert not output.exists()


def test_unknown_checkpoint(tmp_path):
    run = vividface("restore", clip("single_face"), "-o", tmp_path / "out.mp4", "--model", "no-such-model")
    one_sentence(run, "no-such-model", "vividface-nano")


def test_a_checkpoint_that_is_none(tmp_path):
    (tmp_path / "model.ckpt").write_text("not a checkpoint")
    run = vividface("restore", clip("single_face"), "-o", tmp_path / "o.mp4", "--model", tmp_path / "model.ckpt")
    one_sentence(run, "model.ckpt")


def test_offline_download_says_file_folder_and_address(tmp_path):
    run = in_a_process("models", "download", "vividface", "--models-dir", tmp_path, HF_HUB_OFFLINE="1")
    one_sentence(run, "vividface.ckpt", str(tmp_path), "https://")
    assert not any(path.is_file() for path in tmp_path.rglob("*") if path.suffix in {".ckpt", ".pth"})


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--strength", "2"], "strength"),
        (["--window", "10"], "window"),
        (["--preset", "betamax"], "betamax"),
        (["--color", "sepia"], "sepia"),
        (["--device", "cuda:99"], "cuda:99"),
        (["--faces", "prettiest"], "prettiest"),
        (["--faces", "ref:nowhere.jpg"], "nowhere.jpg"),
    ],
)
def test_bad_options(arguments, word, tmp_path, tiny_checkpoint):
    run = vividface(
        "restore",
        clip("single_face"),
        "-o",
        tmp_path / "out.mp4",
        "--model",
        tiny_checkpoint,
        "--size",
        "64",
        *arguments,
    )
    one_sentence(run, word)


def test_output_into_a_missing_folder(tmp_path, tiny_checkpoint):
    run = vividface("restore", clip("single_face"), "-o", tmp_path / "no" / "out.mp4", "--model", tiny_checkpoint)
    one_sentence(run, str(tmp_path / "no"))


def test_output_over_the_input(tmp_path, tiny_checkpoint):
    source = tmp_path / "in.mp4"
    source.write_bytes(clip("single_face").read_bytes())
    one_sentence(vividface("restore", source, "-o", source, "--model", tiny_checkpoint), "in.mp4")
    assert source.read_bytes() == clip("single_face").read_bytes()


def test_models_list_names_the_embedded_one():
    run = in_a_process("models", "list")
    assert run.returncode == 0
    assert "vividface-nano" in run.stdout and "Apache-2.0" in run.stdout


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in ("bench", "curate", "metrics", "run"))])
def test_help_comes_without_torch(words):
    program = (
        "import sys\nfrom vividface_core.cli.main import main\n"
        f"try:\n    main({words!r})\nexcept SystemExit as end:\n    print('torch' in sys.modules, end.code)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.rstrip().endswith("False 0") and "usage: vividface" in said


TOY = """
SUMMARY, DESCRIPTION, KEPT = "greet", "Greet somebody.", ""

def add_options(parser):
    parser.add_argument("name")

def run(args):
    print(f"hello {args.name}")
"""


def test_another_package_adds_a_command(tmp_path):
    (tmp_path / "toy_command.py").write_text(TOY)
    about = tmp_path / "toy-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[vividface.commands]\ngreet = toy_command\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    assert in_a_process("greet", "you", PYTHONPATH=path).stdout == "hello you\n"
    listed = in_a_process("--help", PYTHONPATH=path).stdout
    assert all(f"\n    {name}" in listed for name in ("restore", "curate", "calibrate", "greet"))
