"""Detection and embedding on real people: against other implementations' numbers, counts, blur, identity."""

from __future__ import annotations

import warnings

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from tests.assets import clip
from vividface_core.degrade import Degradation
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.faces import embed, mtcnn
from vividface_core.faces.detect import RETINAFACE_FILES, load_detector
from vividface_core.faces.embed import TEMPLATE, align, load_embedder

# Found once by facenet-pytorch 2.6.0's own MTCNN (smallest face 20, thresholds 0.6, 0.7, 0.75): clip, frame, box,
# landmarks in pixels.
REFERENCE = [
    ("franck", 0, [130, 58, 259, 235], [[166, 129], [225, 121], [198, 158], [176, 195], [228, 189]]),
    ("franck", 100, [130, 68, 259, 246], [[165, 142], [224, 131], [199, 171], [177, 206], [231, 196]]),
    ("cap12", 0, [158, 96, 263, 235], [[189, 153], [237, 154], [212, 174], [194, 206], [228, 208]]),
    ("cap12", 100, [156, 101, 256, 238], [[186, 154], [235, 156], [210, 174], [190, 206], [228, 208]]),
    ("carphone", 30, [57, 37, 105, 99], [[67, 62], [89, 57], [80, 70], [77, 85], [92, 82]]),
    ("carphone", 119, [50, 34, 99, 94], [[65, 57], [87, 52], [81, 64], [74, 80], [92, 75]]),
    ("single_face", 0, [217, 80, 372, 294], [[258, 170], [329, 167], [295, 215], [271, 252], [328, 250]]),
    ("single_face", 24, [221, 80, 367, 292], [[255, 162], [326, 158], [294, 204], [262, 234], [333, 229]]),
    ("wolfgang", 60, [323, 43, 536, 334], [[383, 165], [485, 172], [431, 221], [376, 261], [474, 265]]),
    ("wolfgang", 300, [329, -2, 556, 317], [[398, 111], [507, 119], [457, 157], [395, 220], [499, 227]]),
]
GROUPS = {
    "group_photo": [[412, 354, 600, 602], [832, 425, 1036, 660], [1478, 212, 1682, 443]],
    "multi_face": [
        [221, 66, 302, 174],
        [324, 238, 409, 356],
        [437, 213, 517, 308],
        [532, 300, 632, 437],
        [680, 285, 790, 420],
    ],
}


def read(name: str, indices: list[int]) -> Tensor:
    """Those frames of a clip, [T,3,H,W] RGB 0…1."""
    frames = []
    with av.open(str(clip(name))) as container:
        for i, frame in enumerate(container.decode(video=0)):
            if i in indices:
                frames.append(torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1) / 255)
            if i == max(indices):
                break
    assert len(frames) == len(indices)
    return torch.stack(frames)


@pytest.fixture(scope="module")
def detector():
    return load_detector()


@pytest.fixture(scope="module")
def embedder():
    return load_embedder()


@pytest.mark.parametrize(("name", "index", "box", "landmarks"), REFERENCE)
def test_box_and_landmarks_agree_with_another_implementation(detector, name, index, box, landmarks):
    (face,) = detector.detect(read(name, [index]))[0]
    height = box[3] - box[1]
    # The cascade's boxes tremble by a few per cent of the face with the window that they started from.
    assert np.abs(face.box - box).max() < max(4, 0.04 * height)
    assert np.abs(face.landmarks - landmarks).max() < max(2.5, 0.02 * height)
    assert face.box.dtype == face.landmarks.dtype == np.float32
    assert face.score > 0.9


@pytest.mark.parametrize("name", GROUPS)
def test_every_face_of_a_group_picture(detector, name):
    faces = detector.detect(read(name, [0]))[0]
    assert [f.score for f in faces] == sorted((f.score for f in faces), reverse=True)
    found = sorted((f.box for f in faces), key=lambda box: box[0])
    assert np.abs(np.array(found) - GROUPS[name]).max() < 15


@pytest.mark.parametrize(
    ("name", "last", "count"),
    [
        ("franck", 700, 1),
        ("cap12", 500, 1),
        ("wolfgang", 460, 1),
        ("single_face", 70, 1),
        ("carphone", 119, 1),
        ("no_face", 90, 0),
    ],
)
def test_every_sampled_frame_has_the_right_number_of_faces(detector, name, last, count):
    frames = read(name, list(range(0, last, max(1, last // 12))))
    assert [len(faces) for faces in detector.detect(frames)] == [count] * len(frames)


def test_finds_faces_that_are_blurred_small_and_noisy(detector):
    clean = read("franck", [0, 60, 120, 180])
    blurred = Degradation(sigma=4, scale=2, noise=5, crf=None)(clean)
    for before, after in zip(detector.detect(clean), detector.detect(blurred), strict=True):
        assert len(after) == 1
        assert np.abs(after[0].landmarks - before[0].landmarks).max() < 8


def test_coordinates_follow_size_and_position(detector):
    frame = read("cap12", [0])
    (face,) = detector.detect(frame)[0]
    # 1200 px wide, so it is shrunk to 640 before detection; the answer is in pixels of the large frame all the same.
    large = frame.repeat_interleave(3, -1).repeat_interleave(3, -2)
    (enlarged,) = detector.detect(large)[0]
    assert np.abs(enlarged.landmarks / 3 - face.landmarks).max() < 3
    cut = frame[..., 60:, 200:]
    (half,) = detector.detect(cut)[0]
    assert half.box[0] < 0 < half.box[2], "a face cut by the border is reported where it would be"


def test_boxes_are_steady_in_a_video(detector):
    boxes = np.array([faces[0].box for faces in detector.detect(read("franck", list(range(24))))])
    tremble = np.abs(boxes[2:] - 2 * boxes[1:-1] + boxes[:-2]).mean()
    assert tremble < 1, "the published cascade, without centring, trembles by 2.6 px here"


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 5, 900), (1, 3, 300, 2), (0, 3, 64, 64), (1, 3, 19, 19)])
def test_frames_without_room_for_a_face(detector, shape):
    assert detector.detect(torch.rand(shape)) == [[]] * shape[0]


def test_suppression():
    boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [2, 2, 5, 5], [30, 0, 40, 10]], float)
    scores = np.array([0.8, 0.9, 0.7, 0.6])
    one = np.zeros(4, int)
    assert mtcnn.suppress(boxes, scores, one, 0.5).tolist() == [1, 2, 3]
    assert mtcnn.suppress(boxes, scores, one, 0.5, of_smaller=True).tolist() == [1, 3]
    assert mtcnn.suppress(boxes, scores, np.arange(4), 0.5).tolist() == [1, 0, 2, 3]
    assert mtcnn.suppress(boxes[:0], scores[:0], one[:0], 0.5).tolist() == []


def test_windows_are_exact_area_means():
    picture = torch.rand(2, 3, 40, 60)
    boxes = np.array([[8.0, 4.0, 32.0, 28.0], [0.5, 0.0, 48.5, 24.0], [0.0, 0.0, 12.0, 12.0]])
    windows = mtcnn.WindowSampler(picture)(np.array([1, 0, 1]), boxes, 12)
    by_two = torch.nn.functional.avg_pool2d(picture[1, :, 4:28, 8:32], 2)
    assert torch.allclose(windows[0], by_two, atol=1e-5)
    # Cells four wide that begin in the middle of a pixel: half of the first and of the fifth belong to it.
    first = (picture[0, :, :2, 0] / 2 + picture[0, :, :2, 1:4].sum(-1) + picture[0, :, :2, 4] / 2).mean(-1) / 4
    assert torch.allclose(windows[1][:, 0, 0], first, atol=1e-5)
    assert torch.allclose(windows[2], picture[1, :, :12, :12], atol=1e-5)


def test_aligned_landmarks_lie_on_the_template():
    turned = np.deg2rad(25)
    rotation = np.array([[np.cos(turned), -np.sin(turned)], [np.sin(turned), np.cos(turned)]])
    for scale in (0.8, 2.7):
        points = scale * TEMPLATE @ rotation.T + [120, 40]
        y, x = np.mgrid[:420, :420] + 0.5
        for k, (px, py) in enumerate(points):
            dot = np.exp(-((x - px) ** 2 + (y - py) ** 2) / (2 * (2 * scale) ** 2)).astype(np.float32)
            face = align(torch.from_numpy(dot).expand(3, -1, -1), points[None])[0, 0].numpy()
            at = np.mgrid[:112, :112] + 0.5
            centre = (at * face).sum((1, 2)) / face.sum()
            assert np.abs(centre[::-1] - TEMPLATE[k]).max() < 0.2


def test_embedding_equals_the_original_network(embedder):
    # By onnxruntime 1.31 with the package's own float32 fr_feature.onnx on the same aligned face.
    landmarks = np.array([[[162, 123], [219, 119], [193, 156], [171, 194], [224, 189]]], float)
    (vector,) = embedder.embed(read("franck", [0])[0], landmarks)
    first = [0.0405, 0.0363, 0.0073, -0.0723, -0.0152, -0.0136, -0.0111, -0.0298]
    last = [0.0645, 0.0394, -0.011, 0.0102, -0.0039, 0.0571, -0.0002, -0.0279, -0.0023, 0.005, -0.003, -0.0195]
    assert np.abs(vector[:8] - first).max() < 1e-3
    assert np.abs(vector[500:] - last).max() < 1e-3
    assert vector.shape == (512,)
    assert abs(np.linalg.norm(vector) - 1) < 1e-5


def test_the_same_person_is_closer_than_any_other(detector, embedder):
    people = {
        "franck": ["franck"],
        "man": ["cap12", "cap13"],
        "woman": ["wolfgang"],
        "caller": ["single_face"],
        "driver": ["carphone"],
    }
    who, vectors = [], []
    for person, clips in people.items():
        for name in clips:
            frames = read(name, [0, 25, 50, 70])
            for frame, faces in zip(frames, detector.detect(frames), strict=True):
                vectors.append(embedder.embed(frame, faces[0].landmarks[None])[0])
                who.append(person)
    alike = np.array(vectors) @ np.array(vectors).T
    same = np.equal.outer(who, who)
    assert alike[same].min() > 0.35
    assert alike[~same].max() < 0.25


def test_embedding_nobody(embedder):
    assert embedder.embed(torch.rand(3, 20, 20), np.zeros((0, 5, 2))).shape == (0, 512)
    # Landmarks that all coincide give no scale, yet must give a finite vector.
    assert np.isfinite(embedder.embed(torch.rand(3, 20, 20), np.full((1, 5, 2), 7.0))).all()


def test_unknown_detector_names_the_choices():
    with pytest.raises(InvalidOption, match="'haar'.*auto, mtcnn, retinaface"):
        load_detector("haar")


def test_missing_weights_name_file_folder_and_address(tmp_path, monkeypatch):
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with pytest.raises(MissingWeights) as caught:
        load_detector("retinaface", folders=[tmp_path / "mine"])
    message = str(caught.value)
    for part in (tmp_path / "mine", tmp_path / "models" / "facexlib", tmp_path / ".cache" / "vividface" / "facexlib"):
        assert str(part) in message
    assert "https://github.com/xinntao/facexlib/releases/download/v0.1.0/detection_Resnet50_Final.pth" in message
    for load, module in ((mtcnn.Mtcnn.load, mtcnn), (load_embedder, embed)):
        monkeypatch.setattr(module, "WEIGHTS", tmp_path / "gone.safetensors")
        with pytest.raises(MissingWeights, match=r"gone\.safetensors"):
            load(path=module.WEIGHTS) if module is mtcnn else load()


@torch.no_grad()
def _calibrate(net: torch.nn.Module, frames: Tensor) -> None:
    """Set a random network's batch norms from frames, so that signals neither vanish nor explode on their way."""
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            layer.momentum = 1.0
    net.train()
    net(frames.flip(1) * 255 - net.mean_tensor)
    net.eval()


@pytest.mark.parametrize("file", RETINAFACE_FILES)
def test_retinaface_agrees_with_facexlibs_own_detection(tmp_path, monkeypatch, file):
    """The released weights aren't at hand; random ones exercise the same file format, decoding and order."""
    retinaface = pytest.importorskip("facexlib.detection.retinaface")
    # Where torchvision comes without its compiled operators, facexlib's suppression can't run. Suppression has its
    # own test above, so both sides go without.
    monkeypatch.setattr(retinaface, "py_cpu_nms", lambda boxes, limit: np.arange(len(boxes)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        original = retinaface.RetinaFace(RETINAFACE_FILES[file], device="cpu")
    frame = read("carphone", [0])
    bgr = (frame[0].permute(1, 2, 0).numpy()[..., ::-1] * 255).copy()
    _calibrate(original, read("carphone", [0, 60]))
    folder = tmp_path / "facexlib"
    folder.mkdir()
    torch.save({f"module.{key}": value for key, value in original.state_dict().items()}, folder / file)
    monkeypatch.setenv("VIVIDFACE_MODELS", str(tmp_path))
    detector = load_detector("retinaface")
    detector.overlap = 1
    with torch.no_grad():
        every = original.detect_faces(bgr, conf_threshold=0)
    detector.threshold = float(every[4:6, 4].mean())
    expected = every[every[:, 4] > detector.threshold]
    found = detector.detect(frame)[0]
    assert len(found) == len(expected) == 5
    for face, row in zip(found, expected, strict=True):
        assert np.allclose(face.box, row[:4], atol=0.05)
        assert np.allclose(face.landmarks, row[5:].reshape(5, 2), atol=0.05)
        assert abs(face.score - row[4]) < 1e-4


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path):
    pytest.importorskip("facexlib.detection.retinaface")
    (tmp_path / "detection_mobilenet0.25_Final.pth").write_bytes(b"<html>404</html>")
    with pytest.raises(UnsupportedCheckpoint, match="detection_mobilenet0.25_Final.pth"):
        load_detector("retinaface", folders=[tmp_path])
