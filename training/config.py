"""The trainer's configuration: one TOML file, every value typed, every default said once.

Defaults are VividFace's own where the paper tells them (sections 3.2, 4.1: batch 32, learning rate 1e-4, p = 0.5,
λ = 0.1); what it leaves open says so. An unknown or ill-typed entry is an error that names it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from vividface_core.degrade import load_preset
from vividface_core.errors import InvalidOption
from vividface_core.restorers.registry import VIVIDFACE, stage_class
from vividface_core.wan.transformer import T_STAR, VELOCITY_SCALE

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


class Section(BaseModel):
    """A table of the file; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _renamed(new: str, old: str, default: Any, **bounds: Any) -> Any:
    """A field that files may also call ``old``, which it is called in a model's card."""
    return Field(default, validation_alias=AliasChoices(new, old), serialization_alias=old, **bounds)


class Lora(Section):
    """Low-rank adapters instead of the whole denoiser.

    Attributes:
        targets: module names that get an adapter.
    """

    rank: int = Field(128, ge=1)
    alpha: float = 128.0
    targets: tuple[str, ...] = ("to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2")


class Model(Section):
    """What the stages of the one-step restorer train.

    Attributes:
        base: a checkpoint's name, or a folder or file, as ``vividface restore --model`` takes it; empty: the parts
            below stand alone.
        vae, transformer: a path, or the arguments of ``AutoencoderKLWan`` / ``WanTransformer3DModel`` for random
            first weights. Each goes before ``base``.
        principal_start: begin a new one-level autoencoder at the principal components of its patches (see
            :mod:`training.stages.pca_init`).
        learn_prompt: train the embedding of "" too. For denoisers from random weights only: there is no text encoder
            that they would have to agree with.
        train_vae: pixel stage: train the decoder, or all of the autoencoder, along. For small models, whose
            autoencoder is the bottleneck; the paper's stays frozen.
        decoder: a conditional decoder (:mod:`vividface_core.wan.conditional_decoder`): the arguments of its
            ``DecoderConfig``, without those that the autoencoder decides, for random first weights; empty: that of
            ``base``, if it has one. Stages ``decoder`` and ``pixel``.
        grow_decoder: the decoder of ``base`` with ``decoder``'s changes to its arguments: its weights stay, and blocks
            that are new begin without an effect. ``aligned`` alone changes what it gives.
        train_new: whether only what is new learns, at the rate that beginners need and the others would suffer from.
        restart_blocks: with it, beginnings of the names of blocks that begin anew, without an effect: "down.2.".
        encoder: the same for a tiny encoder (:mod:`vividface_core.wan.tiny_encoder`), stage ``encoder``.
        control: arguments of the image restorer of stage ``control`` (:class:`training.stages.nafnet.NafNet`).
        frozen: type of the weights that aren't trained. Released weights are bf16 anyway, and take half the memory
            so; needs ``run.precision = "bf16"``.
        learn_skip: learn a share A of the degraded latent that is left out, a number a channel:
            ẑ = (1 − A) ⊙ z_l − s·DiT(z_l). With A near 1 the denoiser predicts the clean latent itself, which a narrow
            one can, while noise in all channels of wide tokens is more than it can hold (arXiv 2511.13720).
        native_size, native_frames: written into the checkpoint: what it is to be used at.
    """

    base: str = ""
    decoder: dict[str, Any] | None = None
    grow_decoder: bool = False
    train_new: bool = False
    restart_blocks: tuple[str, ...] = ()
    encoder: dict[str, Any] | None = None
    control: dict[str, Any] | None = None
    frozen: Literal["fp32", "bf16"] = "fp32"
    learn_skip: bool = False
    vae: str | dict[str, Any] | None = None
    transformer: str | dict[str, Any] | None = None
    principal_start: bool = False
    lora: Lora | None = None
    learn_prompt: bool = False
    train_vae: Literal["none", "decoder", "all"] = "none"
    t_star: float = T_STAR
    velocity_scale: float = VELOCITY_SCALE
    gradient_checkpointing: bool = True
    native_size: int = VIVIDFACE.native_size
    native_frames: int = VIVIDFACE.native_frames


class Echo(Section):
    """How often a drawn clip is used, and how large it is (:mod:`training.data.echo`).

    Attributes:
        times: crops that are trained on. frames, size: of the drawn clip, at least those of a sample.
    """

    times: int = Field(ge=1)
    frames: int = Field(ge=1)
    size: int = Field(ge=8)


class Data(Section):
    """Where samples come from.

    Attributes:
        kind: ``shards``: prepared by ``training.prepare``, with cached latents; ``clips``: cut and degraded on the
            fly out of ``training.nano.prepare``'s material.
        path: the prepared folder.
        validation: a prepared folder of its own; empty: every 25th clip of ``path`` is kept from training.
        frames, size: of a sample of ``clips`` (shards have theirs; ``frames`` shortens them; stages without latents
            scale them to ``size``).
        canvas: ``clips``: side of the whole face of which a window of ``size`` is cut.
        faces: ``clips``: share of samples around a face. zoom: side of another cut over the picture's short side.
        still_warp: ``clips``: strength of the synthetic motion that turns a still into a clip.
        smallest_face: ``clips``: faces whose crop is narrower, in pixels of the material, are not cut around.
        degradation: the preset that degrades clips on the fly: ``vividface``, that paper's ranges, ``real_world``,
            ``bfvr_stc``, ``brightness_flicker`` … (``vividface degrade --list-presets``).
        degradation_values: other values of that preset's parameters: ``{pattern = "fresh"}``.
        lighting: share of clips whose light is switched or faded, which is in the truth as well.
        shares: ``clips``: how often parts of a ``degradation`` that is a mixture are drawn, where not as often as the
            preset says: ``{web = 20}``; not in percent any more, where they don't sum up to 100.
        camera_noise: ``clips``: largest deviation, of 255, of noise in clips that aren't degraded at all, in half of
            them as coarse as an enlarged face's. It is in the truth as well: what no codec touched is the picture's.
        manifest: ``clips``: a manifest of ``vividface curate`` over the material's videos
            (``training.material_videos``); clips that it rejects aren't trained on. Validation keeps all of its own.
        echo: ``clips``: larger clips that each give several samples, which spares most of the time that it takes to
            degrade them; ``None``: each sample is drawn anew.
        workers: processes that prepare samples, for each training process.
    """

    kind: Literal["shards", "clips"] = "shards"
    path: Path
    validation: Path | None = None
    frames: int | None = None
    size: int = 512
    canvas: int = 0
    faces: float = Field(0.7, ge=0, le=1)
    zoom: tuple[float, float] = (0.2, 0.6)
    still_warp: float = Field(1.0, ge=0)
    smallest_face: float = Field(0.0, ge=0)
    degradation: str = "vividface"
    degradation_values: dict[str, Any] = {}
    lighting: float = Field(0.0, ge=0, le=1)
    shares: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    camera_noise: float = Field(0.0, ge=0)
    manifest: Path | None = None
    echo: Echo | None = None
    workers: int = Field(4, ge=0)

    @model_validator(mode="after")
    def _echoes(self) -> Data:
        if self.echo is not None:
            if self.kind != "clips":
                raise ValueError("echo is for kind clips: prepared shards are degraded already.")
            if self.echo.frames < (self.frames or 0) or self.echo.size < self.size:
                raise ValueError(
                    f"echo: {self.echo.frames} frames of {self.echo.size} pixels hold no sample of {self.frames} "
                    f"frames of {self.size}."
                )
        return self

    @model_validator(mode="after")
    def _degrades(self) -> Data:
        try:
            load_preset(self.degradation, self.degradation_values)
        except InvalidOption as error:
            raise ValueError(f"degradation: {error}") from error
        return self


class Loss(Section):
    """Weights of the losses; see :mod:`training.losses.face_focused`.

    Attributes:
        face_probability: p of Eq. 6. latent_face_probability: that of the latent loss, where it isn't the same.
        normalisation: of the face term; the paper doesn't say, ``literal`` is the equation as it stands.
        channels: of the latent stage. Latents are normalised, so ``equal``, as in the paper, lets channels that
            barely show in the picture count as much as those that make it; ``decoded`` weighs each channel by the
            pixel error that an error in it makes (mean weight 1), which spares a small model much of the pixel stage.
        dists: λ of Eq. 8 (pixel stage). lpips: the same for LPIPS; not in the paper.
        error: of the switched squared error itself (Eq. 8: 1).
        psnr: of the error in decibels, which weighs nearly clean samples as much as bad ones
            (:func:`training.losses.face_focused.psnr_error`).
        latent: of Eq. 7 beside Eq. 8, where both latents are at hand. motion: L1 of frame differences. warped: L1 of
            what the error changes along the truth's optical flow (:func:`training.losses.warped.warped_error`).
        clean_latents: ``decoder`` stage: share of samples that are decoded from the clean latent.
        teacher, teacher_lpips: ``decoder`` stage: of the squared error and of LPIPS against what the frozen
            autoencoder's own decoder makes of the same latent.
        input_dropout: share of samples whose conditional decoder sees no input, so that it can decode without.
        perceptual_frames: frames of a clip, drawn at random, that DISTS and LPIPS see; 0: all.
        absolute, edges: weights of L1 on pixels and on their differences (autoencoder; in the pixel stage extra to
            Eq. 8 and 0 in the paper).
        adversarial: weight of the gradient of a discriminator on frozen features (autoencoder).
        kl: of the posterior against a unit Gaussian (autoencoder).
    """

    face_probability: float = Field(0.5, ge=0, le=1)
    latent_face_probability: float | None = Field(None, ge=0, le=1)
    normalisation: Literal["literal", "mask"] = "literal"
    channels: Literal["equal", "decoded"] = "equal"
    dists: float = Field(0.1, ge=0)
    lpips: float = Field(0.0, ge=0)
    error: float = Field(1.0, ge=0)
    latent: float = Field(0.0, ge=0)
    motion: float = Field(0.0, ge=0)
    warped: float = Field(0.0, ge=0)
    psnr: float = Field(0.0, ge=0)
    clean_latents: float = Field(0.5, ge=0, le=1)
    input_dropout: float = Field(0.1, ge=0, le=1)
    teacher: float = Field(0.0, ge=0)
    teacher_lpips: float = Field(0.0, ge=0)
    perceptual_frames: int = Field(0, ge=0)
    absolute: float = Field(0.0, ge=0)
    edges: float = Field(0.0, ge=0)
    adversarial: float = Field(0.0, ge=0)
    kl: float = Field(1e-6, ge=0)

    @property
    def latent_probability(self) -> float:
        """p of Eq. 6 in the latent loss."""
        own = self.latent_face_probability
        return self.face_probability if own is None else own


class Optimizer(Section):
    """How weights move. The paper tells batch and rate; the rest is this project's choice.

    Attributes:
        name: ``adamw``, or ``muon`` for matrices and kernels with AdamW for the rest (not under FSDP or DeepSpeed).
        muon_rate: Muon's rate over ``rate``. vae_rate, decoder_rate: those of an
            autoencoder or a conditional decoder that are trained along.
        global_batch_size: samples of a step over all processes. micro_batch_size: samples that a process holds at
            once; what is between them is accumulated.
        schedule: after ``warmup`` steps; ``cosine`` ends at ``min_lr_ratio`` times ``lr``; ``steps`` multiplies it by
            ``gamma`` at each of ``milestones``.
        ema: decay of the averaged weights, reached gradually; 0: none.
    """

    name: Literal["adamw", "muon"] = "adamw"
    lr: float = _renamed("lr", "rate", 1e-4, gt=0)
    muon_lr_scale: float = _renamed("muon_lr_scale", "muon_rate", 20.0, gt=0)
    vae_lr_scale: float = _renamed("vae_lr_scale", "vae_rate", 0.25, gt=0)
    decoder_rate: float = Field(1.0, gt=0)
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = Field(0.01, ge=0)
    global_batch_size: int = _renamed("global_batch_size", "batch", 32, ge=1)
    micro_batch_size: int = _renamed("micro_batch_size", "micro_batch", 1, ge=1)
    steps: int = Field(32_000, ge=1)
    warmup: int = Field(100, ge=0)
    schedule: Literal["constant", "cosine", "steps"] = "constant"
    milestones: tuple[int, ...] = ()
    gamma: float = Field(0.5, gt=0, le=1)
    min_lr_ratio: float = _renamed("min_lr_ratio", "final", 0.02, ge=0, le=1)
    max_grad_norm: float = _renamed("max_grad_norm", "max_norm", 1.0, gt=0)
    ema: float = Field(0.999, ge=0, lt=1)


class Run(Section):
    """Where results go and how often.

    Attributes:
        output: folder of checkpoints, logs, pictures and of the averaged weights in ``model/``.
        seed: of all chance, which samples come when among it: a run that goes on from another's model wants its own.
        precision: of the computation; weights and optimizer stay fp32.
        compile: compile the model; pays after some hundred steps of one shape.
        checkpoint_every, keep: steps between full states, and how many stay.
        validate_every, validation_clips: steps between validations, and their size; 0 every: never.
        trackers: of Accelerate: tensorboard, wandb … ``log.jsonl`` is always written.
        bad_batches: non-finite batches in a row after which the run stops.
    """

    output: Path
    seed: int = 0
    precision: Literal["no", "fp16", "bf16"] = "bf16"
    compile: bool = False
    log_every: int = Field(10, ge=1)
    checkpoint_every: int = Field(500, ge=1)
    keep: int = Field(2, ge=1)
    validate_every: int = Field(500, ge=0)
    validation_clips: int = Field(8, ge=1)
    trackers: tuple[str, ...] = ("tensorboard",)
    bad_batches: int = Field(3, ge=1)


class Config(Section):
    """A whole training run of one stage.

    Attributes:
        system: id of the system whose stage it is; empty: the default one.
        stage: one of the system's, such as ``autoencoder``, ``latent`` (Eq. 7), ``encoder``, ``decoder``, ``pixel``
            (Eq. 8) or ``control``, an image restorer to compare with.
        model, loss: tables of the stage's own kind (``Stage.model_section``, ``Stage.loss_section``).
    """

    system: str = ""
    stage: str
    run: Run
    model: Any
    data: Data
    loss: Any = Field({}, validate_default=True)
    optimizer: Optimizer = Optimizer()

    @field_validator("stage")
    @classmethod
    def _is_known(cls, stage: str, info: ValidationInfo) -> str:
        _stage_class(info.data["system"], stage)
        return stage

    @field_validator("model", "loss", mode="before")
    @classmethod
    def _read_own(cls, table: Any, info: ValidationInfo) -> Any:
        """The stage's class says what its ``model`` and ``loss`` tables hold."""
        if "stage" not in info.data:
            return table  # which is an error of its own
        stage = _stage_class(info.data["system"], info.data["stage"])
        section = stage.model_section if info.field_name == "model" else stage.loss_section
        return table if isinstance(table, section) else section.model_validate(table)

    @model_validator(mode="after")
    def _fits(self) -> Config:
        _stage_class(self.system, self.stage).check(self)
        return self


def _stage_class(system: str, stage: str) -> Any:
    try:
        return stage_class(system, stage)
    except InvalidOption as error:
        raise ValueError(str(error)) from error


def published(config: Config) -> dict[str, Any]:
    """What a model's card tells of its training: everything but places on this machine."""
    loss, optimizer = config.loss.model_dump(mode="json"), config.optimizer.model_dump(mode="json", by_alias=True)
    data = config.data.model_dump(mode="json", exclude={"path", "validation", "manifest", "workers"})
    system = {"system": config.system} if config.system else {}
    return {
        **system,
        "stage": config.stage,
        "seed": config.run.seed,
        "precision": config.run.precision,
        "data": data,
        "loss": loss,
        "optimizer": optimizer,
    }


def load_config(path: Path, changes: tuple[str, ...] = ()) -> Config:
    """Read a TOML file; ``changes`` (``run.seed=3``, ``optimizer.steps=100``) go before it.

    Raises:
        InvalidOption: missing file, no TOML, unknown key, wrong type or value; the message names each.
    """
    try:
        tree = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        for change in changes:
            _change(tree, change)
        return Config.model_validate(tree)
    except OSError as error:
        raise InvalidOption(f"{path} can't be read: {error.strerror}") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidOption(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'whole'}: {e['msg']}" for e in error.errors())
        raise InvalidOption(f"{path}: {faults}") from error


def _change(tree: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    *tables, key = name.split(".")
    if not equals or not all((*tables, key)):
        raise InvalidOption(f"{change!r}: a change is written table.key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string
    for table in tables:
        tree = tree.setdefault(table, {})
        if not isinstance(tree, dict):
            raise InvalidOption(f"{change!r}: {table} is no table")
    tree[key] = value
