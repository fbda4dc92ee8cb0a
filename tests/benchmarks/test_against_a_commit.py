"""What compares this tree with an older commit: one bit is seen, names and layout are not."""

from __future__ import annotations

import subprocess

import torch
from safetensors.torch import save_file

from benchmarks import product_lines
from benchmarks.same_results import differences, frames_of, numbers_of, tensors_of
from tests.measured import lossless


def test_one_bit_of_a_tensor_is_seen_and_its_name_is_not(tmp_path):
    weight = torch.randn(3, 5)
    other = weight.clone()
    other.view(torch.int32)[1, 2] ^= 1
    for name, tensors in (("one", {"a": weight}), ("same", {"b": weight}), ("off", {"a": other})):
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors")
    one, same, off = (tensors_of(tmp_path / name) for name in ("one", "same", "off"))
    assert one == same != off and len(one) == 1


def test_frames_are_compared_as_they_are_decoded(tmp_path):
    one, same = lossless(tmp_path / "one.mkv", frames=3), lossless(tmp_path / "same.mkv", frames=3)
    later = lossless(tmp_path / "later.mkv", start=1, frames=3)
    assert frames_of(one) == frames_of(same) != frames_of(later)


def test_reports_are_compared_by_their_numbers_without_times():
    report = {"psnr": {"value": 30.5, "frames": [30.0, 31.0]}, "seconds": 3.2, "complete": True, "name": "x"}
    assert list(numbers_of(report)) == ["30.5", "30.0", "31.0"]


def test_each_difference_is_a_line():
    before, after = {"a": "1", "b": "1\n2", "c": "1"}, {"a": "1", "b": "1\n3", "d": "1"}
    assert differences(before, before) == []
    assert differences(before, after) == ["b: differs (1 of 2, 2 now)", "c: only before", "d: only after"]


def test_lines_are_counted_as_if_all_were_formatted_alike(tmp_path, monkeypatch):
    """The same call in one line, held apart by a comment, and over four lines."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "--quiet"], check=True)
    (tmp_path / "nodes").mkdir()
    counts = []
    for text in ("f(a, b)\n", "f( a,\n   b )  # fmt: skip\n", "f(\n    a,\n    b,\n)\n"):
        (tmp_path / "nodes" / "x.py").write_text(text)
        subprocess.run(["git", "add", "."], check=True)
        who = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *who, "commit", "--quiet", "-m", "x"], check=True)
        counts.append(product_lines.count("HEAD"))
    assert counts == [{"nodes/x.py": 1}] * 3
