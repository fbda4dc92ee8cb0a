"""Prepared samples survive kills, keep their recipe apart, and come back bit for bit."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open

from training.data.shards import ShardReader, ShardWriter, fingerprint
from vividface_core.errors import InvalidOption, UnsupportedCheckpoint

RECIPE = {"size": 256, "seed": 0, "ranges": {"sigma": [0.1, 10]}}


def sample(number: int) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(number)
    return {"low": torch.randn(4, 3, 2, generator=generator).half(), "mask": torch.ones(1, number + 1)}


def fill(folder, numbers, **options):
    with ShardWriter(folder, RECIPE, **options) as writer:
        for number in numbers:
            if f"s{number}" not in writer:
                writer.add(f"s{number}", sample(number), {"clip": f"film-{number}.mp4"})
    return ShardReader(folder)


def test_samples_come_back_bit_for_bit(tmp_path):
    reader = fill(tmp_path, range(10), shard_bytes=150)
    assert len(reader) == 10 and len(list(tmp_path.glob("*.safetensors"))) > 3
    for number, got in enumerate(reader):
        wanted = sample(number)
        assert got.keys() == wanted.keys()
        assert all(torch.equal(got[name], wanted[name]) and got[name].dtype == wanted[name].dtype for name in wanted)
    assert reader.notes["s3"]["clip"] == "film-3.mp4"
    with safe_open(tmp_path / "00000.safetensors", "pt") as file:
        assert "s0/low" in set(file.keys()), "the shards are ordinary safetensors"


def test_a_second_run_adds_only_what_is_missing(tmp_path):
    fill(tmp_path, range(4), shard_bytes=1)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    reader = fill(tmp_path, range(6), shard_bytes=1)
    assert len(reader) == 6
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_dropped_samples_are_remembered_with_their_reason(tmp_path):
    with ShardWriter(tmp_path, RECIPE) as writer:
        writer.drop("s0", "no face")
    with ShardWriter(tmp_path, RECIPE) as writer:
        assert "s0" in writer
    assert ShardReader(tmp_path).dropped == {"s0": "no face"} and len(ShardReader(tmp_path)) == 0


def test_another_recipe_is_refused_and_named(tmp_path):
    fill(tmp_path, range(2))
    with pytest.raises(InvalidOption, match="size: 256 there, 512 now"):
        ShardWriter(tmp_path, {**RECIPE, "size": 512})
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1}) != fingerprint({"a": 1, "b": 3})
    assert len(fill(tmp_path, range(2))) == 2


def test_an_error_leaves_the_last_whole_state(tmp_path):
    with pytest.raises(RuntimeError):
        with ShardWriter(tmp_path, RECIPE, shard_bytes=1) as writer:
            writer.add("s0", sample(0))
            writer._shard_bytes = 1 << 30
            writer.add("s1", sample(1))
            raise RuntimeError
    assert ShardReader(tmp_path).keys == ["s0"]


KILLED = """
import sys
from tests.training.data.test_shards import RECIPE, sample
from training.data.shards import ShardWriter
with ShardWriter(sys.argv[1], RECIPE, shard_bytes=1) as writer:
    for number in range(100_000):
        writer.add(f"s{number}", sample(number % 50))
"""


def test_a_kill_leaves_only_whole_shards(tmp_path, request):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=request.config.rootpath)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("*.safetensors"))) < 20 and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    reader = ShardReader(tmp_path)
    assert len(reader) >= 19
    assert all(set(got) == {"low", "mask"} for got in reader)
    assert "s0" in ShardWriter(tmp_path, RECIPE)


def test_damage_is_said(tmp_path):
    with pytest.raises(UnsupportedCheckpoint, match=r"index\.json is missing"):
        ShardReader(tmp_path)
    fill(tmp_path, range(2))
    (tmp_path / "00000.safetensors").write_bytes(b"damaged")
    with pytest.raises(UnsupportedCheckpoint, match=r"00000\.safetensors"):
        ShardReader(tmp_path)[0]
    (tmp_path / "index.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(UnsupportedCheckpoint, match="format"):
        ShardReader(tmp_path)


def test_a_reader_travels_to_a_worker(tmp_path):
    reader = fill(tmp_path, range(3))
    reader[0]
    copy = pickle.loads(pickle.dumps(reader))
    assert torch.equal(copy[2]["low"], sample(2)["low"])
