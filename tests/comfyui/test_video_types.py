"""VIDEO as the core makes it (trimmed, of ten bits, with transparency) through the restore node, by what comes out."""

from __future__ import annotations

import av
import numpy as np
import pytest
from PIL import Image

from tests.assets import run_ffmpeg
from tests.comfyui.prompts import LOAD, MASK, MODEL, RESTORE, node, restore_video, saved
from tests.comfyui.server import comfy_version
from tests.comfyui.test_nodes import output_of

TRIMS = pytest.mark.skipif(comfy_version() < (0, 13), reason="this ComfyUI has no trimmed videos")


def restored(comfy, prompt, **options) -> av.container.InputContainer:
    """The temporary file of a restoration of ``["video", 0]``, before the core touches it."""
    before = set((comfy.folder / "temp" / "vividface").glob("*.m*"))
    comfy.run(
        {
            **prompt,
            "model": node("VividFaceLoadModel", **MODEL),
            "restore": node(
                "VividFaceOneStepRestore",
                video=["video", 0],
                restorer=["model", 0],
                **{**RESTORE, "encoding": "ffv1", "size": 64, "window": 5, **options},
            ),
            "report": node("PreviewAny", source=["restore", 1]),
        }
    )
    (made,) = set((comfy.folder / "temp" / "vividface").glob("*.m*")) - before
    return av.open(str(made))


def luma(container) -> list[tuple[np.ndarray, float]]:
    """Brightness and time of each frame."""
    return [(frame.to_ndarray()[: frame.height], float(frame.time)) for frame in container.decode(video=0)]


def frames(path, first=0, last=None) -> list[tuple[np.ndarray, float]]:
    with av.open(str(path)) as container:
        return luma(container)[first:last]


@TRIMS
@pytest.mark.parametrize("whole", [True, False])
def test_a_trimmed_video_is_read_from_its_own_file(comfy, whole):
    """Pixels outside of faces bit for bit, rate and times the source's."""
    first = {
        "load": node("LoadVideo", file="face.mp4")
        if whole
        else node("VividFaceVideoLoad", **{**LOAD, "start_frame": 2})
    }
    start = 6 / 24 if whole else 4 / 24
    trim = node("Video Slice", video=["load", 0], start_time=start, duration=5 / 24, strict_duration=True)
    wanted = frames(comfy.folder / "input" / "face.mp4", 6, 11)
    with restored(comfy, first | {"video": trim}, strength=0.95) as made:
        assert made.streams.video[0].average_rate == 24
        got = luma(made)
    assert len(got) == len(wanted) == 5
    for (a, a_time), (b, b_time) in zip(got, wanted):
        same = a == b
        assert same[:, :40].all() and same[:, -40:].all() and same.mean() > 0.4 and not same.all()
        assert a_time - got[0][1] == pytest.approx(b_time - wanted[0][1], abs=1e-3)


@TRIMS
def test_a_part_trimmed_to_nothing_is_told(comfy):
    trim = node("Video Slice", video=["load", 0], start_time=50.0, duration=1.0, strict_duration=False)
    prompt = {"load": node("VividFaceVideoLoad", **{**LOAD, "start_frame": 2}), "video": trim}
    with pytest.raises(RuntimeError, match="slice"):
        comfy.run(prompt | {"save": saved(["video", 0], "nothing")})


def test_ten_bits_stay_ten(comfy):
    path = comfy.folder / "input" / "ten.mp4"
    run_ffmpeg("-i", comfy.folder / "input" / "face.mp4", "-frames:v", 5, "-pix_fmt", "yuv420p10le", "-an", path)
    outputs = comfy.run(restore_video(prefix="ten", load={"file": "ten.mp4"}, size=64, window=5))
    with av.open(str(output_of(comfy, outputs, "save"))) as container:
        assert container.streams.video[0].format.name == "yuv420p10le"


@TRIMS
def test_a_video_made_of_images_keeps_its_ten_bits(comfy):
    outputs = comfy.run(
        {
            "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 5}),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "video": node("CreateVideo", images=["parts", 0], fps=24.0, bit_depth=10),
            "model": node("VividFaceLoadModel", **MODEL),
            "restore": node(
                "VividFaceOneStepRestore",
                video=["video", 0],
                restorer=["model", 0],
                **{**RESTORE, "encoding": "h264", "size": 64, "window": 5},
            ),
            "save": saved(["restore", 0], "made"),
        }
    )
    with av.open(str(output_of(comfy, outputs, "save"))) as container:
        assert container.streams.video[0].format.name == "yuv420p10le"


def alpha_of(container) -> list[np.ndarray]:
    return [frame.reformat(format="rgba").to_ndarray()[..., 3] for frame in container.decode(video=0)]


def test_transparency_of_a_file_stays(comfy):
    path = comfy.folder / "input" / "clear.mov"
    run_ffmpeg(
        *("-i", comfy.folder / "input" / "face.mp4", "-frames:v", 5, "-an"),
        *("-vf", "format=rgba,geq=r='r(X,Y)':g='g(X,Y)':b='b(X,Y)':a='mod(X,256)'", "-c:v", "qtrle", path),
    )
    prompt = {"video": node("VividFaceVideoLoad", **{**LOAD, "file": "clear.mov"})}
    with restored(comfy, prompt, strength=0.9) as made, av.open(str(path)) as source:
        pairs = list(zip(alpha_of(made), alpha_of(source)))
    assert len(pairs) == 5 and all(np.array_equal(a, b) for a, b in pairs)


def test_transparency_of_images_stays_in_their_video(comfy):
    """The core's VIDEO of frames can't be saved with transparency: a file takes its place."""
    height, width = frames(comfy.folder / "input" / "face.mp4", 0, 1)[0][0].shape
    ramp = np.tile(np.arange(width) % 256, (height, 1)).astype(np.uint8)
    Image.fromarray(ramp).convert("RGB").save(comfy.folder / "input" / "ramp.png")
    prompt = {
        "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 5}),
        "parts": node("GetVideoComponents", video=["load", 0]),
        "picture": node("LoadImage", image="ramp.png"),
        "pictures": node("RepeatImageBatch", image=["picture", 0], amount=5),
        "mask": node("ImageToMask", image=["pictures", 0], channel="red"),
        "clear": node("JoinImageWithAlpha", image=["parts", 0], alpha=["mask", 0]),
        "video": node("CreateVideo", images=["clear", 0], fps=24.0),
    }
    with restored(comfy, prompt, strength=0.9) as made:
        assert made.streams.video[0].average_rate == 24
        alphas = alpha_of(made)
    # The core's joint stands for what is left of the mask.
    assert len(alphas) == 5 and all(np.abs(255 - alpha.astype(int) - ramp).max() <= 1 for alpha in alphas)


def test_images_in_half_precision_are_taken_everywhere(comfy):
    options = {**RESTORE, "size": 64, "window": 5}
    degrade = {
        "preset": "vividface",
        "seed": 1,
        "sigma": -1.0,
        "scale": -1.0,
        "noise": -1.0,
        "crf": -1,
        "overrides": "",
    }
    outputs = comfy.run(
        {
            "load": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 5}),
            "parts": node("GetVideoComponents", video=["load", 0]),
            "half": node("TestHalf", images=["parts", 0]),
            "model": node("VividFaceLoadModel", **MODEL),
            "faces": node("VividFaceFaceMask", source=["half", 0], **MASK),
            "worse": node("VividFaceDegradeSynthImages", images=["half", 0], **degrade),
            "images": node(
                "VividFaceOneStepRestoreImages",
                images=["half", 0],
                restorer=["model", 0],
                mask=["faces", 0],
                tracks=["faces", 1],
                **options,
            ),
            "video": node("CreateVideo", images=["half", 0], fps=24.0),
            "restore": node(
                "VividFaceOneStepRestore", video=["video", 0], restorer=["model", 0], **options, encoding="h264"
            ),
            "compare": node("VividFaceCompareVideo", before=["half", 0], after=["images", 0], fps=24.0),
            "saved": node("SaveImage", images=["images", 0], filename_prefix="half"),
            "kept": node("SaveImage", images=["worse", 0], filename_prefix="worse"),
            "movie": saved(["restore", 0], "half"),
        }
    )
    assert len(outputs["saved"]["images"]) == len(outputs["kept"]["images"]) == 5 and outputs["movie"]


def test_faces_are_put_into_an_upscalers_video(comfy):
    """What another node made of the same frames, here the core's own enlargement, as the background."""
    first = {
        "video": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 5}),
        "parts": node("GetVideoComponents", video=["video", 0]),
        "large": node("ImageScaleBy", image=["parts", 0], upscale_method="bicubic", scale_by=2.0),
        "below": node("CreateVideo", images=["large", 0], fps=24.0),
    }
    with restored(comfy, first, background=["below", 0]) as made:
        times = [float(frame.time) for frame in made.decode(video=0)]
        size = made.streams.video[0].width, made.streams.video[0].height
    source = frames(comfy.folder / "input" / "face.mp4", 0, 5)
    assert times == pytest.approx([time for _, time in source], abs=1e-3)
    assert size == (2 * source[0][0].shape[1], 2 * source[0][0].shape[0])
    with restored(comfy, first, scale=2.0) as made:
        assert (made.streams.video[0].width, made.streams.video[0].height) == size


def write_upscaler(path) -> None:
    """A model of the kind of realesr-animevideov3 that repeats each pixel: with weights of zero what is left is its
    shortcut, the nearest neighbour four times as large."""
    from safetensors.torch import save_file
    from spandrel.architectures.Compact.__arch.SRVGG import SRVGGNetCompact

    state = SRVGGNetCompact(num_in_ch=3, num_out_ch=3, num_feat=8, num_conv=2, upscale=4).state_dict()
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({key: value * 0 for key, value in state.items()}, str(path))


def test_an_upscale_model_enlarges_all_but_the_faces(comfy):
    write_upscaler(comfy.folder / "models" / "upscale_models" / "nearest.safetensors")
    first = {
        "video": node("VividFaceVideoLoad", **{**LOAD, "frame_count": 5}),
        "upscaler": node("UpscaleModelLoader", model_name="nearest.safetensors"),
    }
    source = [picture for picture, _ in frames(comfy.folder / "input" / "face.mp4", 0, 5)]
    for told, factor in (({}, 4), ({"scale": 2.0}, 2)):
        with restored(comfy, first, upscale_model=["upscaler", 0], **told) as made:
            large = [picture for picture, _ in luma(made)]
        height, width = (factor * side for side in source[0].shape)
        assert [picture.shape for picture in large] == [(height, width)] * 5
        # Beside the face, in its corner: each sample of the source, so many times.
        corner = np.abs(
            large[2][: factor * 24, : factor * 24].astype(int)
            - np.kron(source[2][:24, :24], np.ones((factor, factor), int))
        )
        assert corner.mean() < 2 and (corner > 12).mean() < 0.02
