"""DVFace: priors on the denoiser's grid, the fusion against its formula, and the one-step model underneath."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.dvface import parameters
from tests.tiny import tiny_modules
from vividface_core.dvface import Fusion, FusionConfig, PriorEncoder, Priors, priors_of
from vividface_core.dvface.priors import SEGMENT
from vividface_core.errors import InvalidOption, MissingWeights, UnsupportedCheckpoint
from vividface_core.restorers.dvface import DVFaceRestorer
from vividface_core.restorers.dvface_files import save
from vividface_core.restorers.one_step import OneStepRestorer
from vividface_core.restorers.one_step_options import OneStepExecution
from vividface_core.wan.empty_prompt import EmptyPrompt
from vividface_core.wan.injection import hooked
from vividface_core.weights import inspect, load_restorer

PRIOR = {"nf": 8, "ch_mult": (1, 1, 2, 2), "emb_dim": 16, "codebook_size": 32, "res_blocks": 1, "attn_resolutions": ()}


def prior_encoder(seed: int = 1, **more) -> PriorEncoder:
    torch.manual_seed(seed)
    net = PriorEncoder(
        **PRIOR, n_layers=1, n_head=2, img_size=64, attention="frame", spatial_branch="convolution", **more
    )
    for book in (net.quantize.embedding_s, net.quantize.embedding_t):
        nn.init.normal_(book.weight)
    return net.eval()


def fusion_of(seed: int | None = None, **more) -> Fusion:
    """Untrained, or with random weights everywhere."""
    fusion = Fusion(FusionConfig(blocks=2, width=32, channels=16, heads=4, **more))
    if seed is not None:
        torch.manual_seed(seed)
        for parameter in fusion.parameters():
            nn.init.normal_(parameter, std=0.2)
    return fusion.eval()


def parts(plain: bool) -> dict:
    vae, transformer = tiny_modules()
    torch.manual_seed(5)
    prompt = EmptyPrompt(torch.randn(1, 16))
    return {"vae": vae, "transformer": transformer, "prompt": prompt, "execution": OneStepExecution(plain=plain)}


@pytest.fixture(scope="module")
def clip():
    return torch.rand(9, 3, 48, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("query", ["temporal", "tokens"])
def test_an_untrained_fusion_changes_nothing(clip, plain, query):
    alone = OneStepRestorer(**parts(plain)).restore(clip)
    together = DVFaceRestorer(**parts(plain), priors=prior_encoder(), fusion=fusion_of(query=query)).restore(clip)
    assert torch.equal(alone, together)


@pytest.mark.parametrize("halves", [{}, {"query": "tokens"}, {"spatial": False}, {"temporal": False}])
def test_the_folded_denoiser_takes_the_priors_as_the_plain_one(clip, halves):
    made = [
        DVFaceRestorer(**parts(plain), priors=prior_encoder(), fusion=fusion_of(7, **halves)).restore(clip)
        for plain in (False, True)
    ]
    assert (made[0] - made[1]).abs().max() < 1e-4
    assert (made[0] - OneStepRestorer(**parts(False)).restore(clip)).abs().max() > 1e-3, "and they say something"


def test_a_fusion_without_halves_costs_no_priors(clip):
    def refuse(*_):
        raise AssertionError("priors were computed")

    priors = prior_encoder()
    priors.features = refuse
    restorer = DVFaceRestorer(**parts(False), priors=priors, fusion=fusion_of(7, temporal=False, spatial=False))
    alone = OneStepRestorer(**parts(False))
    assert torch.equal(restorer.restore(clip), alone.restore(clip))
    assert restorer.memory_for(9, 48, 64) - restorer.weight_bytes == alone.memory_for(9, 48, 64) - alone.weight_bytes


def test_the_fusion_is_its_formula():
    """x ← (1 + γ) x + β + W_o attention, written out a frame and a head at a time."""
    fusion, priors = fusion_of(3), Priors(torch.randn(1, 3, 6, 16), torch.randn(1, 3, 6, 16))
    block, x = fusion.blocks[1], torch.randn(1, 18, 32)
    wanted = torch.empty_like(x)
    for frame in range(3):
        f_s, f_t = priors.spatial[0, frame], priors.temporal[0, frame]
        gain, shift = block.modulation(f_t.mean(0)).split(32)
        heads = []
        for head in range(4):
            rows = slice(4 * head, 4 * head + 4)
            q, k, v = f_t @ block.to_q.weight[rows].T, f_s @ block.to_k.weight[rows].T, f_s @ block.to_v.weight[rows].T
            heads.append((q @ k.T / 2).softmax(-1) @ v)
        tokens = slice(6 * frame, 6 * frame + 6)
        wanted[0, tokens] = (1 + gain) * x[0, tokens] + shift + block.to_out(torch.cat(heads, -1))
    frames = torch.arange(3).repeat_interleave(6)
    with torch.no_grad():
        found = x.clone()
        fusion(priors)[1].add_to(found, frames, slice(None))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("query", ["temporal", "tokens"])
def test_parts_of_the_tokens_get_what_the_whole_gets(query):
    """As chunks, and as the tokens of two processes, whose border is inside a frame."""
    priors = Priors(torch.randn(2, 3, 6, 16), torch.randn(2, 3, 6, 16))
    with torch.no_grad():
        injection = fusion_of(4, query=query)(priors)[0]
        x, frames = torch.randn(2, 18, 32), torch.arange(3).repeat_interleave(6)
        whole = x.clone()
        injection.add_to(whole, frames, slice(None))
        for bounds in ((0, 8), (8, 18)):
            mine = slice(*bounds)
            part, share = x[:, mine].clone(), injection.shard(lambda tensor, mine=mine: tensor[:, mine])
            for start in range(0, part.shape[1], 5):
                place = slice(start, start + 5)
                share.add_to(part[:, place], frames[mine][place], place)
            torch.testing.assert_close(part, whole[:, mine])


class _Ramp:
    """Stands for the prior encoder: the mean brightness of each pair of frames, at each cell."""

    def __init__(self) -> None:
        self.lengths: list[int] = []

    def parameters(self):
        return iter([torch.zeros(1)])

    def features(self, clip):
        self.lengths.append(clip.shape[2])
        pairs = clip.mean(1, keepdim=True).unflatten(2, (-1, 2)).mean(3)
        cells = nn.functional.avg_pool3d(pairs, (1, 8, 8))
        return cells, -cells


@pytest.mark.parametrize("frames", [1, 5, 9, 81])
def test_priors_stand_where_the_denoisers_tokens_stand(frames):
    clip = torch.rand(1, 3, frames, 32, 48)
    net = _Ramp()
    priors = priors_of(net, lambda a, b: clip[:, :, a:b], frames, (2, 3), 4)
    pixels = nn.functional.avg_pool3d(clip.mean(1, keepdim=True), (1, 16, 16))
    first, rest = pixels[:, :, :1], pixels[:, :, 1:]
    wanted = torch.cat([first, rest.unflatten(2, (-1, 4)).mean(3)], 2) if frames > 1 else first
    torch.testing.assert_close(priors.spatial[0, ..., 0], wanted[0, 0].flatten(1))
    torch.testing.assert_close(priors.temporal, -priors.spatial)
    assert max(net.lengths) <= 2 * SEGMENT, "however long the clip is"


def test_lengths_that_do_not_fit_are_refused():
    with pytest.raises(InvalidOption, match="even number"):
        priors_of(_Ramp(), lambda a, b: None, 8, (1, 1), 4)


def test_the_priors_of_a_short_clip_are_those_of_one_pass():
    net, clip = prior_encoder(), torch.rand(1, 3, 9, 32, 32)
    with torch.no_grad():
        priors = priors_of(net, lambda a, b: clip[:, :, a:b], 9, (4, 4), 4)
        spatial, _ = net.features(torch.cat([clip[:, :, :1], clip], 2))
    wanted = torch.stack([spatial[:, :, 0], spatial[:, :, 1:3].mean(2), spatial[:, :, 3:].mean(2)], 2)
    torch.testing.assert_close(priors.spatial, wanted.flatten(3).permute(0, 2, 3, 1))


def test_attention_within_frames_does_not_mix_them():
    net = prior_encoder()
    block = next(one for one in net.encoder.blocks if hasattr(one, "within_frames"))
    x = torch.randn(2, 16, 3, 4, 4)
    block.norm = nn.Identity()  # which looks at the whole clip
    alone = torch.cat([block(x[:, :, frame : frame + 1]) for frame in range(3)], 2)
    torch.testing.assert_close(block(x), alone)


def test_a_checkpoint_comes_back(clip, tmp_path):
    made = DVFaceRestorer(**parts(True), priors=prior_encoder(), fusion=fusion_of(7))
    save(tmp_path / "dv", made, {"native_size": 64, "native_frames": 17}, dtype=torch.float32)
    again = load_restorer(str(tmp_path / "dv"), plain=True)
    assert again.name == "dvface" and torch.equal(again.restore(clip), made.restore(clip))
    fast = load_restorer(str(tmp_path / "dv"), tile=64)
    assert (fast.restore(clip) - made.restore(clip)).abs().max() < 1e-4
    assert fast.memory_for(81, 256, 256) > OneStepRestorer(**parts(False)).memory_for(81, 256, 256)
    assert inspect(tmp_path / "dv").kind == "checkpoint folder"
    (tmp_path / "dv" / "fusion" / "model.safetensors").unlink()
    with pytest.raises(MissingWeights, match="fusion"):
        load_restorer(str(tmp_path / "dv"))


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"fusion": Fusion(FusionConfig(3, 32, 16, 4))}, "3 blocks"),
        ({"fusion": Fusion(FusionConfig(2, 32, 8, 4))}, "8 channels"),
    ],
)
def test_parts_of_different_models_are_refused(wrong, words):
    with pytest.raises(UnsupportedCheckpoint, match=words):
        DVFaceRestorer(**{**parts(False), "priors": prior_encoder(), "fusion": fusion_of(), **wrong})


def test_gradients_reach_the_fusion_through_the_plain_denoiser():
    _, transformer = tiny_modules()
    fusion, priors = fusion_of(2), Priors(torch.randn(1, 2, 4, 16), torch.randn(1, 2, 4, 16))
    latent, text = torch.randn(1, 8, 2, 4, 4), torch.randn(1, 4, 16)
    with hooked(transformer, fusion(priors)):
        transformer(latent, timestep=torch.tensor([400.0]), encoder_hidden_states=text, return_dict=False)[
            0
        ].mean().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in fusion.parameters())


def test_the_true_configuration_has_the_papers_parameters():
    counts = parameters()
    assert abs(sum(counts.values()) / 1_624_550_000 - 1) < 0.01
    assert round(counts["denoiser"] / 1e6, 3) == 1418.997 and round(counts["autoencoder"] / 1e6, 3) == 126.893
