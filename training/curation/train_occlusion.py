"""Train the finder of covered faces: ``python -m training.curation.train_occlusion data/nano``.

The faces, and what is pasted over them, come out of the material of :mod:`training.nano.prepare`. Left out are clips
of the half that the pre-filter is reported on (``training.curation.reference_clips``), faces that look like one of
theirs, and files whose faces are covered, drawn or stone (:data:`LEFT_OUT`).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from training.curation.occlusion import CELLS, WEIGHTS, OcclusionDetector, OcclusionNet
from training.data.occluders import add_occluder
from training.data.random_clips import Material
from vividface_core.faces.detect import FaceDetection, load_detector
from vividface_core.faces.embed import SIDE, align, load_embedder, similarity
from vividface_core.io.tensors import write_tensors

_COVERED = frozenset(
    """
    Image_capybara_v0_1_text_to_image-1 api_bfl_flux_1_kontext_pro_image-2 api_bfl_flux_pro_t2i-1
    api_bria_guided_remove_background-2 api_bria_video_green_screen-2 api_elevenlabs_v4_text_to_speech-1
    api_google_gemini_omni_flash_1_1_r2v-1 api_google_nano_banana2_image_edit_continuation-1
    api_grok_imagine_image_quality_image_edit-1 api_grok_imagine_image_quality_image_generation-1
    api_grok_reference_to_video-1 api_hailuo_minimax_i2v-1 api_happyhorse1_1_i2v-1 api_heygen_talking_photo-1
    api_heygen_video_1_i2v-1 api_ideogram_p_image_t2i-1 api_ideogram_v4_5_t2i-1
    api_ideogram_vector_1_text_to_svg-1 api_kling4_i2v-1 api_kling4_r2v-1 api_kling_o3_flf2v-1 api_ltx2_5_t2v-1
    api_magnific_image_relight-1 api_magnific_image_relight-2 api_meshy7_image_to_model-1
    api_openai_gpt_image_25_sunburst_image_edit-1 api_runway_gen3a_turbo_image_to_video-1 api_seedance2_5_r2v-1
    api_stability_ai_i2i-1 api_stability_ai_i2i-2 api_sync_so_talking_image-1 api_topaz_astra2-1
    api_topaz_astra2-2 api_veed_fabric_1_0-1 api_veo3-1 api_wan2_7_r2v-1 flux_dev_full_text_to_image-1
    gsl_creator_2-1 gsl_creator_2-2 hidream_e1_full-2 hidream_i1_dev-1
    image-qwen_image_edit_2511_lora_inflation-1 image_anima_base_v1-1 image_anima_lllite_any_control_to_image-1
    image_boogu_image_0_1_edit-1 image_boogu_image_0_1_turbo_t2i-1 image_firered_image_edit1_1-1
    image_firered_image_edit1_1-2 image_flux2-1 image_flux2-2 image_flux3_klein_t2i-1 image_hidream_o1_dev-1
    image_netayume_lumina_t2i-1 image_qwen_image_controlnet_patch-2 image_qwen_image_edit_2511_int8-2
    template_character_portrait_relighting-1 template_contact_sheet-step_3.app-1
    template_image_speech_to_video-1 template_sferro21_product_ad.app-1
    templates-1_input-multiple_styles_prompt.app-1 templates-color_illustration-2
    templates-portrait_light_migration-1 templates_rob_realistic_2k_images_quick_variations.app-1
    utility_recraft_creative_image_upscale-1 utility_recraft_creative_image_upscale-2 utility_sam3d_body-1
    utility_sdpose_multi_person-1 video_minimax_h3_multiframe_reference-1
    video_wan21_scail2_character_replacement_int8-2 video_wan2_2_14B_flf2v-1 video_wan_vace_outpainting-2
    wan2.1_fun_control-1
    """.split()
)
"""Stems of files whose faces a person found covered, drawn, stone or hardly visible."""
_PORTRAITS = frozenset(
    """
    A000055 A000369 A000370 A000372 B000490 B000574 B000825 B000944 B001223 B001236 B001248 B001257 B001261 B001278
    B001281 B001310 C000141 C000537 C001054 C001061 C001068 C001078 C001088 C001096 C001101 C001112 C001120 C001125
    D000216 D000616 D000617 D000633 E000235 E000246 E000298 F000446 F000450 F000454 F000470 F000471 F000474 F000477
    F000480 G000551 G000553 G000558 G000568 G000576 H000874 H001052 H001068 H001077 H001085 H001086 H001094 H001096
    I000058 J000299 J000301 J000309 K000009 K000367 K000376 K000377 K000381 K000382 K000385 K000394 K000400 L000266
    L000397 L000491 L000557 L000569 L000596 M000312 M000355 M000639 M001111 M001135 M001137 M001143 M001156 M001160
    M001169 M001184 M001188 M001205 M001210 M001215 M001227 N000002 N000147 N000189 O000173 P000034 P000096 P000595
    P000597 P000599 R000395 R000609 R000612 R000617 S000033 S000185 S000344 S000510 S001157 S001159 S001172 S001190
    S001191 S001212 S001217 S001221 S001223 S001226 S001227 T000165 T000464 T000469 T000476 T000481 U000040 V000135
    W000788 W000790 W000795 W000798 W000800 W000817 W000825 W000828
    """.split()
)
"""Stems of portraits with glasses, hats or an eye patch, and of some in which the network of
:mod:`vividface_core.faces.occluders` took something for such: nobody has said which of their pixels are covered."""
LEFT_OUT = _COVERED | _PORTRAITS
"""Stems of files whose faces aren't learnt from."""
ALIKE, SAME_PICTURE = 0.35, 12 / 255
"""Cosine from which a face may be that of a person of the reported half; mean difference below which two aligned
faces are one picture."""
MARGIN = 160
"""Side of the stored aligned faces, of which a turned and shifted part of 112 / 160 becomes a sample."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--samples", type=int, default=1600)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    args = parser.parse_args()
    torch.manual_seed(0)
    finder = OcclusionDetector(OcclusionNet(), load_embedder())
    faces, textures = gather(Material(args.data))
    print(f"{len(faces)} faces, {len(textures)} pictures of other things")
    features, targets = examples(faces, textures, finder, args.samples)
    fit(finder.net, features, targets, args.epochs)
    write_tensors(args.output, {key: value.half().contiguous() for key, value in finder.net.state_dict().items()})


def gather(material: Material) -> tuple[Tensor, Tensor]:
    """Aligned faces ``[N, 3, 160, 160]`` of people who may be trained on, and pictures ``[M, 3, 160, 160]`` without
    a face."""
    from training.curation.reference_clips import CLIPS

    reported = {clip.file for clip in CLIPS if clip.half == "report"}
    detector, embedder = load_detector("mtcnn"), load_embedder()
    faces, looks, strangers = [], [], []
    textures: list[Tensor] = []
    for key in tqdm(material.keys, unit="clip"):
        file = material.origin[key]["file"]
        if key not in material.faces:
            if len(textures) < 400 and int(key) % 2 == 0:
                textures.append(_middle(material.clip(key)))
            continue
        clip = material.clip(key)
        frame = clip[len(clip) // 2].permute(2, 0, 1).float() / 255
        for face in _clear(detector.detect(frame[None])[0]):
            look = embedder.embed(frame, face.landmarks[None])[0]
            if file in reported:
                strangers.append(look)
            elif Path(file).stem not in LEFT_OUT:
                faces.append(align(frame, _wider(face.landmarks)[None], MARGIN)[0])
                looks.append(look)
    kept: list[int] = []
    for number, look in enumerate(looks):
        known = strangers and float((np.stack(strangers) @ look).max()) >= ALIKE
        if not known and all((faces[number] - faces[other]).abs().mean() >= SAME_PICTURE for other in kept):
            kept.append(number)
    return torch.stack([faces[number] for number in kept]), torch.stack(textures)


def _clear(found: list[FaceDetection]) -> list[FaceDetection]:
    return [face for face in found if face.score >= 0.97 and face.box[2] - face.box[0] >= 44]


def _wider(landmarks: np.ndarray) -> np.ndarray:
    """Landmarks drawn apart, so that aligning by them leaves a margin around the face; its middle stays there."""
    a, b = similarity(np.asarray(landmarks, np.float64))
    middle = a * (SIDE + 1j * SIDE) / 2 + b
    return np.array([middle.real, middle.imag]) * (1 - MARGIN / SIDE) + landmarks * (MARGIN / SIDE)


def _middle(clip: Tensor) -> Tensor:
    picture = clip[len(clip) // 2].permute(2, 0, 1).float() / 255
    side = min(picture.shape[-2:])
    top, left = ((full - side) // 2 for full in picture.shape[-2:])
    return F.interpolate(
        picture[None, :, top : top + side, left : left + side],
        (MARGIN, MARGIN),
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )[0]


def examples(faces: Tensor, textures: Tensor, finder: OcclusionDetector, count: int) -> tuple[Tensor, Tensor]:
    """Features ``[count, 128, 14, 14]`` and shares of the cells that are covered ``[count, 14, 14]``, half floats."""
    rng = np.random.default_rng(0)
    # The cheek beside the nose, of every face: real skin to make fingers of.
    skins = faces[:, :, 86:106, 52:76]
    features, targets = [], []
    for start in tqdm(range(0, count, 16), unit="batch"):
        pairs = [add_occluder(faces[number % len(faces)], textures, skins, rng) for number in range(start, start + 16)]
        pictures, covers = (torch.stack(part) for part in zip(*pairs))
        features.append(finder.features(pictures).half())
        targets.append(F.avg_pool2d(covers, 112 // CELLS)[:, 0].half())
    return torch.cat(features), torch.cat(targets)


def fit(net: OcclusionNet, features: Tensor, targets: Tensor, epochs: int) -> None:
    """Cross-entropy over the cells; AdamW, cosine; every tenth sample only tells how it goes."""
    for parameter in net.parameters():
        parameter.requires_grad_(True)
    apart = torch.arange(len(features)) % 10 == 0
    train, test = (torch.nonzero(which)[:, 0] for which in (~apart, apart))
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * (len(train) // 64 + 1))
    for epoch in range(epochs):
        for part in train[torch.randperm(len(train))].split(64):
            loss = F.binary_cross_entropy_with_logits(net(features[part].float()), targets[part].float())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            guesses = torch.cat([net(features[part].float()) for part in test.split(256)]).sigmoid()
        right = ((guesses > 0.5) == (targets[test] > 0.5)).float().mean()
        print(f"epoch {epoch}: loss {loss.item():.4f}, {right:.2%} of the cells right", flush=True)


if __name__ == "__main__":
    main()
