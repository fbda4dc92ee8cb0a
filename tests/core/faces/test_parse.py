from __future__ import annotations

import numpy as np
import pytest
import torch

from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.faces.parse import CLASSES, load_parser

# Where an aligned portrait (FFHQ) has its landmarks, in a crop of 512.
ALIGNED = np.array([[193, 240], [319, 240], [257, 314], [201, 371], [313, 371]], float)


@pytest.fixture(autouse=True)
def no_weights_of_the_user(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.delenv("VIVIDFACE_MODELS", raising=False)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Real network files, with weights as a fresh network has them."""
    from facexlib.parsing.bisenet import BiSeNet
    from facexlib.parsing.parsenet import ParseNet

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("parsers") / "facexlib"
    folder.mkdir()
    torch.save(BiSeNet(num_class=19).state_dict(), folder / "parsing_bisenet.pth")
    torch.save(ParseNet(512, 512, parsing_ch=19).state_dict(), folder / "parsing_parsenet.pth")
    return folder


def test_the_hull_covers_the_head_and_spares_the_corners():
    parser = load_parser("landmark-hull")
    mask = parser.parse(torch.zeros(2, 3, 512, 512), np.stack([ALIGNED, ALIGNED / 2]))
    assert mask.shape == (2, 1, 512, 512) and mask.min() == 0 and mask.max() == 1
    for x, y in [*ALIGNED.astype(int), (257, 130), (257, 440), (130, 280), (385, 280)]:
        assert mask[0, 0, y, x] > 0.9, (x, y)
    for x, y in [(5, 5), (506, 5), (5, 506), (506, 506), (5, 256), (506, 256), (256, 500)]:
        assert mask[0, 0, y, x] == 0
    assert mask[0].diff(dim=-1).abs().max() < 0.05, "the edge is soft"
    assert torch.allclose(mask[1, 0, :256, :256], mask[0, 0, ::2, ::2], atol=0.03), "the hull scales with the face"


def test_the_hull_turns_with_the_eyes():
    parser = load_parser("landmark-hull")
    lying = np.stack([512 - ALIGNED[:, 1], ALIGNED[:, 0]], 1)
    upright, turned = parser.parse(torch.zeros(2, 3, 512, 512), np.stack([ALIGNED, lying]))
    assert torch.allclose(turned[0], torch.rot90(upright[0], -1), atol=0.02)


def test_the_hull_keeps_its_size_in_profile():
    profile = ALIGNED.copy()
    profile[:, 0] = [280, 310, 370, 290, 330]
    masks = load_parser("landmark-hull").parse(torch.zeros(2, 3, 512, 512), np.stack([ALIGNED, profile]))
    areas = masks.sum((1, 2, 3))
    assert 0.85 < areas[1] / areas[0] < 1.15


@pytest.mark.parametrize("name", ["bisenet", "parsenet"])
def test_networks_are_loaded_from_files(weights, name):
    parser = load_parser(name, folders=[weights])
    mask = parser.parse(torch.rand(1, 3, 96, 96), np.zeros((1, 5, 2)))
    assert parser.name == name and mask.shape == (1, 1, 96, 96)
    assert 0 <= mask.min() and mask.max() <= 1 and mask.std() > 0


def test_classes_can_be_chosen(weights):
    crop, points = torch.rand(1, 3, 96, 96), np.zeros((1, 5, 2))
    face = load_parser("bisenet", folders=[weights]).parse(crop, points)
    left_out = ["background", "neck", "neck_l", "cloth"]
    rest = load_parser("bisenet", folders=[weights], classes=left_out).parse(crop, points)
    assert torch.allclose(face + rest, torch.ones(()), atol=1e-5)


def test_a_clip_is_parsed_frame_by_frame(weights):
    parser = load_parser("bisenet", folders=[weights], classes=CLASSES["bisenet"])
    masks = parser.parse(torch.rand(3, 3, 64, 64), np.zeros((3, 5, 2)))
    assert masks.shape == (3, 1, 64, 64) and torch.allclose(masks, torch.ones(()), atol=1e-5)


def test_the_class_lists_are_whole():
    assert len(CLASSES["bisenet"]) == 19 and sorted(CLASSES["bisenet"]) == sorted(CLASSES["parsenet"])
    left_out = ("background", "neck", "neck_l", "cloth")
    assert [CLASSES["bisenet"].index(one) for one in left_out] == [0, 14, 15, 16]


def test_auto_takes_the_best_that_is_there(weights, tmp_path, monkeypatch):
    assert load_parser().name == "landmark-hull"
    (tmp_path / "parsing_parsenet.pth").write_bytes((weights / "parsing_parsenet.pth").read_bytes())
    assert load_parser(folders=[tmp_path]).name == "parsenet"
    monkeypatch.setenv("VIVIDFACE_MODELS", str(weights.parent))
    assert load_parser().name == "bisenet"


def test_missing_weights_are_named_and_not_downloaded(tmp_path):
    with pytest.raises(MissingWeights) as caught:
        load_parser("bisenet", folders=[tmp_path])
    for word in ("parsing_bisenet.pth", str(tmp_path), "https://github.com/xinntao/facexlib/releases/download/v0.2.0/"):
        assert word in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_wrong_files_and_names_are_refused(weights, tmp_path):
    (tmp_path / "parsing_bisenet.pth").write_bytes((weights / "parsing_parsenet.pth").read_bytes())
    (tmp_path / "parsing_parsenet.pth").write_bytes(b"no checkpoint")
    for name in ("bisenet", "parsenet"):
        with pytest.raises(UnsupportedCheckpoint, match=f"parsing_{name}.pth"):
            load_parser(name, folders=[tmp_path])
    with pytest.raises(InvalidOption, match="sam.*bisenet"):
        load_parser("sam")
    with pytest.raises(InvalidOption, match="beard.*hair"):
        load_parser("bisenet", folders=[weights], classes=["beard"])
