"""Something else saved under the name of weights or of a workflow is called what it is, or is read all the same."""

from __future__ import annotations

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import torch
from safetensors.torch import save

from tests.paths import REPOSITORY
from vividface_core.comfy_client.workflow import Workflow
from vividface_core.errors import UnsupportedCheckpoint
from vividface_core.faces.detect import RETINAFACE_FILES, RetinaFaceDetector
from vividface_core.io.atomic import read_json
from vividface_core.io.file_kinds import HEAD, mistaken_for
from vividface_core.io.tensors import read_tensors

API = REPOSITORY / "workflows" / "api" / "restore_video.api.json"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"ab" * 32 + b"\nsize 5676070424\n"
KINDS = {
    "page": (b"<!DOCTYPE html>\n<html class=''><head><title>shulianz/VividFace</title>" + b" " * 5000, "web page"),
    "page with a mark": (b"\xef\xbb\xbf\r\n  <HTML><body>Sign in</body></HTML>", "web page"),
    "xml": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "web page"),
    "lfs": (POINTER, "Git LFS pointer"),
    "annex": (b"../../.git/annex/objects/Xx/Yy/SHA256E-s12--ab.ckpt\n", "git-annex pointer"),
    "json": (b'{"error":"Repository not found"}', "JSON text"),
    "words": (b"Invalid username or password.", "Invalid username"),
    "empty": (b"", "empty"),
    "zeros": (bytes(4096), "blank"),
    "gzip": (gzip.compress(b"weights" * 100), "an archive (gzip)"),
}


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt", ".pth", ".gguf"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_it_is_is_said(kind, suffix, tmp_path):
    content, word = KINDS[kind]
    path = tmp_path / f"vividface{suffix}"
    path.write_bytes(content)
    with pytest.raises(UnsupportedCheckpoint) as caught:
        read_tensors(path)
    assert word in str(caught.value) and str(path) in str(caught.value)


def test_weights_are_never_mistaken(tmp_path):
    tensors = {"a": torch.zeros(3), "b.c": torch.arange(4.0)}
    buffer, old = io.BytesIO(), io.BytesIO()
    torch.save(tensors, buffer)
    torch.save(tensors, old, _use_new_zipfile_serialization=False)
    heads = [
        save(tensors),
        save({"a": torch.zeros(1)}, {"format": "pt"}),
        buffer.getvalue(),
        old.getvalue(),
        b"GGUF\x03\0\0\0" + bytes(100),
    ]
    assert [mistaken_for(head[:HEAD]) for head in heads] == [None] * len(heads)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a"), io.BytesIO(b""))
    for seed in range(200):
        noise = np.random.default_rng(seed).integers(0, 256, HEAD, np.uint8).tobytes()
        assert mistaken_for(noise) is None or noise[:2] in (b"\x1f\x8b",)


def test_a_detectors_weights_too(tmp_path):
    pytest.importorskip("facexlib")
    path = tmp_path / next(iter(RETINAFACE_FILES))
    path.write_bytes(POINTER)
    with pytest.raises(UnsupportedCheckpoint, match="Git LFS pointer"):
        RetinaFaceDetector(path)


@pytest.mark.parametrize("coding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_workflow_as_notepad_and_powershell_save_it(coding, tmp_path):
    text = API.read_text(encoding="utf-8").replace("\n", "\r\n")
    (tmp_path / "flow.json").write_bytes(text.encode(coding))
    mine, plain = Workflow.read(tmp_path / "flow.json"), Workflow.read(API)
    assert mine.digest == plain.digest and mine.filled("a.mp4") == plain.filled("a.mp4")
    (tmp_path / "config.json").write_bytes(json.dumps({"größe": 1}, ensure_ascii=False).encode(coding))
    assert read_json(tmp_path / "config.json") == {"größe": 1}
