"""Qwen2.5-VL and Qwen3-VL on this machine, through transformers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from vividface_core.errors import (
    InvalidAnswer,
    InvalidOption,
    MissingDependency,
    MissingWeights,
    OutOfMemory,
    UnsupportedCheckpoint,
    first_line,
)
from vividface_core.io.atomic import read_json
from vividface_core.io.hub import endpoint, is_offline
from vividface_core.io.tensors import WHOLE_MODELS, shard_names
from vividface_core.mllm.judges.base import MAX_ATTEMPTS, Reply, WritingJudge, raise_if_stopped
from vividface_core.mllm.judges.sampling import SampledFrames, Sampling, sample
from vividface_core.mllm.rubric import RUBRIC, Rubric, render_prompt
from vividface_core.runtime.devices import pick_device, pick_dtype
from vividface_core.video.source import VideoFrames

MODELS = {"qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration", "qwen3_vl": "Qwen3VLForConditionalGeneration"}
"""transformers' class for each ``model_type`` of a ``config.json``."""
LEAST_TOKENS = 128
"""Visual tokens of one frame below which the models were not trained; smaller frames are enlarged."""
WANTED = ("*.json", "*.safetensors", "*.txt", "*.jinja", "*.model")
"""Files of a repository that are used; pickles are not."""


@dataclass(frozen=True)
class LocalOptions:
    """How a model is loaded and answers.

    Attributes:
        device: ``auto``, ``cpu``, ``cuda:1`` …; ``spread``: over all GPUs (needs accelerate).
        dtype: ``auto`` (bf16, on the CPU fp32), ``fp32``, ``bf16`` or ``fp16``.
        four_bit: weights in 4 bits (NF4; needs bitsandbytes and a GPU).
        max_tokens: of one answer.
        temperature: 0: always the likeliest word.
        download: fetch a model of the Hub that isn't in the cache.
        quiet: no bars while it loads.
    """

    device: str = "auto"
    dtype: str = "auto"
    four_bit: bool = False
    max_tokens: int = 2048
    temperature: float = 0.0
    download: bool = False
    quiet: bool = False


class LocalJudge(WritingJudge):
    """A multimodal model out of a folder or the Hub's cache.

    It sees the frames as one video, with their true times. With temperature 0 the same video gets the same answer.

    Args:
        model: folder in transformers' layout, or a Hub name such as ``Qwen/Qwen2.5-VL-7B-Instruct``.
        loaded: what another judge of this model and these types has loaded already: its ``loaded``.

    Attributes:
        loaded: the model and its processor; whoever moves the model to another device finds it used there.

    Raises:
        MissingDependency: transformers (or bitsandbytes, accelerate) is absent, broken or too old.
        MissingWeights: the model isn't here.
        UnsupportedCheckpoint: it is here but of another kind, or damaged.
        InvalidOption: an option's value makes no sense.
    """

    def __init__(
        self,
        model: str | Path,
        sampling: Sampling | None = None,
        rubric: Rubric = RUBRIC,
        options: LocalOptions | None = None,
        tries: int = MAX_ATTEMPTS,
        loaded: tuple[Any, Any] | None = None,
    ) -> None:
        super().__init__(sampling or Sampling(), rubric, tries)
        self._options = options or LocalOptions()
        if self._options.max_tokens < 1 or self._options.temperature < 0:
            raise InvalidOption("--max-tokens must be 1 or more, and --temperature 0 or more.")
        spread = self._options.device == "spread"
        self._device = pick_device("cuda" if spread else self._options.device)
        self._dtype = pick_dtype(self._options.dtype) or (
            torch.float32 if self._device.type == "cpu" else torch.bfloat16
        )
        self.folder = find_model(model, self._options.download)
        kind = read_json(self.folder / "config.json").get("model_type")
        self.loaded = self._model, self._processor = loaded or self._load(kind)
        video = self._processor.video_processor
        self._factor = int(video.patch_size) * int(video.merge_size)
        self.name = f"local:{model}"
        self.identity |= {
            "kind": "local",
            "model": str(model),
            "model_type": kind,
            "dtype": str(self._dtype).removeprefix("torch."),
            "four_bit": self._options.four_bit,
            "max_tokens": self._options.max_tokens,
            "temperature": self._options.temperature,
            "form": "json",
        }

    def look(self, source: VideoFrames) -> SampledFrames:
        """Frames whose sides are whole patches, so that the processor has nothing left to resize."""
        return sample(source, self.sampling, self._factor, LEAST_TOKENS * self._factor**2)

    def inputs(self, shown: SampledFrames, complaint: str = "") -> Any:
        """What goes into the model: token ids, patches of the video, its grid ``(t, h, w)`` and its times."""
        content = [{"type": "video"}, {"type": "text", "text": self._prompt(complaint)}]
        text = self._processor.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        height, width = shown.pixels.shape[2:]
        about = {
            "fps": shown.fps,
            "total_num_frames": shown.total,
            "duration": shown.total / shown.fps,
            "frames_indices": list(shown.indices),
            "width": width,
            "height": height,
            "video_backend": "pyav",
        }
        return self._processor(
            text=[text],
            videos=[shown.pixels],
            video_metadata=[about],
            do_sample_frames=False,
            do_resize=False,
            return_tensors="pt",
        )

    def ask(self, shown: SampledFrames, complaint: str, number: int) -> Reply:
        inputs = self.inputs(shown, complaint).to(self._model.device)
        asked = inputs["input_ids"].shape[1]
        with self._out_of_memory(shown), torch.inference_mode(), torch.random.fork_rng(self._generators()):
            torch.manual_seed(number)
            made = self._model.generate(**inputs, **self._decoding(), stopping_criteria=self._criteria())[0, asked:]
        raise_if_stopped(self.stopped)
        text = self._processor.tokenizer.decode(made, skip_special_tokens=True)
        if len(made) >= self._options.max_tokens and int(made[-1]) not in self._ends():
            raise InvalidAnswer(
                f"The answer was cut off after {len(made)} tokens; allow longer ones with --max-tokens.", raw=text
            )
        return Reply(text, {"prompt_tokens": asked, "answer_tokens": len(made)})

    def _prompt(self, complaint: str) -> str:
        prompt = render_prompt(self.rubric, form="json")
        return f"{prompt}\n{complaint}\n" if complaint else prompt

    def _decoding(self) -> dict[str, Any]:
        temperature = self._options.temperature
        # What a checkpoint's own generation_config says about chance is of no use without it, and warned about.
        chance = {"temperature": temperature} if temperature > 0 else dict.fromkeys(("temperature", "top_p", "top_k"))
        return {"do_sample": temperature > 0, "max_new_tokens": self._options.max_tokens, **chance}

    def _ends(self) -> set[int]:
        ends = self._model.generation_config.eos_token_id
        return set(ends) if isinstance(ends, (list, tuple)) else {ends}

    def _generators(self) -> list[int]:
        return list(range(torch.cuda.device_count())) if self._model.device.type == "cuda" else []

    def _criteria(self) -> list[Any]:
        """Asked by transformers after each token whether that was the last."""
        return [lambda ids, scores, **_: torch.full((len(ids),), self.stopped.is_set(), device=ids.device)]

    @contextmanager
    def _out_of_memory(self, shown: SampledFrames) -> Iterator[None]:
        try:
            yield
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemory(
                f"{self.name} ran out of memory at {shown.name} ({len(shown)} frames of {shown.pixels.shape[3]}x"
                f"{shown.pixels.shape[2]}). Show fewer or smaller frames (--frames, --frame-pixels), or use --four-bit."
            ) from error

    def _load(self, kind: Any) -> tuple[Any, Any]:
        transformers = load_transformers()
        if self._options.quiet:
            transformers.utils.logging.disable_progress_bar()
        if kind not in MODELS:
            raise UnsupportedCheckpoint(
                f"{self.folder} holds a model of type {kind!r}; judges on this machine can be {', '.join(MODELS)}. "
                "Serve others with vLLM or the like, and use openai:URL."
            )
        cls = getattr(transformers, MODELS[kind], None)
        if cls is None:
            raise MissingDependency(
                f"transformers {transformers.__version__} has no {MODELS[kind]}. Update it: pip install -U transformers"
            )
        place = self._placement(transformers)
        try:
            processor = transformers.AutoProcessor.from_pretrained(self.folder, local_files_only=True)
            model, loaded = cls.from_pretrained(
                self.folder,
                local_files_only=True,
                use_safetensors=True,
                dtype=self._dtype,
                output_loading_info=True,
                **place,
            )
        except torch.cuda.OutOfMemoryError as error:
            raise OutOfMemory(f"{self.folder} is too large for {self._device}; try --four-bit.") from error
        except ImportError as error:
            raise MissingDependency(f"{self.folder} can't be loaded: {first_line(error)}") from error
        except Exception as error:  # a damaged checkpoint raises anything
            raise UnsupportedCheckpoint(
                f"{self.folder} can't be loaded ({first_line(error)}). Fetch it again."
            ) from error
        self._check(processor, loaded)
        # The frames have their size already.
        processor.video_processor.cap_pixels_per_frame = False
        return (model if "device_map" in place else model.to(self._device)).eval(), processor

    def _check(self, processor: Any, loaded: dict[str, Any]) -> None:
        """transformers fills what a file lacks with noise, and goes on without a template."""
        lacking = sorted(map(str, [*loaded.get("missing_keys", ()), *loaded.get("mismatched_keys", ())]))
        if lacking:
            raise UnsupportedCheckpoint(
                f"{self.folder} lacks {len(lacking)} tensors of the model or has them in another shape, such as "
                f"{lacking[0]}. Fetch it again."
            )
        if not (getattr(processor, "chat_template", None) or processor.tokenizer.chat_template):
            raise UnsupportedCheckpoint(f"{self.folder} has no chat template (chat_template.json). Fetch it again.")

    def _placement(self, transformers: ModuleType) -> dict[str, Any]:
        place: dict[str, Any] = {}
        if self._options.device == "spread" or self._options.four_bit:
            _load_library("accelerate", "Spreading a model over GPUs, or loading it in 4 bits,")
            place["device_map"] = "auto" if self._options.device == "spread" else {"": self._device}
        if self._options.four_bit:
            if self._device.type != "cuda":
                raise InvalidOption(f"--four-bit needs a GPU; the device is {self._device}.")
            _load_library("bitsandbytes", "--four-bit")
            place["quantization_config"] = transformers.BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=self._dtype,
                bnb_4bit_use_double_quant=True,
            )
        return place


def load_transformers() -> ModuleType:
    """The library, imported late.

    Raises:
        MissingDependency: absent, broken, or without what videos need.
    """
    transformers = _load_library("transformers", "A judge on this machine")
    try:
        from transformers.video_utils import VideoMetadata

        fitting = "frames_indices" in VideoMetadata.__dataclass_fields__
    except Exception:  # a module that isn't there yet, or one that breaks on import
        fitting = False
    if not fitting:
        raise MissingDependency(
            f"A judge on this machine needs transformers 4.57 or newer; this is {transformers.__version__}. Update it: "
            "pip install -U transformers"
        )
    _load_library("torchvision", "A judge on this machine")  # the processors of videos need it
    return transformers


def _load_library(name: str, what: str) -> ModuleType:
    import importlib

    try:
        return importlib.import_module(name)
    except Exception as error:  # a broken installation raises anything
        raise MissingDependency(
            f"{what} needs {name}, which does not import here ({first_line(error)}). Install it with: "
            f"pip install -U {name}"
        ) from error


def find_model(model: str | Path, download: bool = False) -> Path:
    """The folder of a model: itself, or that of a Hub name in the cache.

    Raises:
        MissingWeights: it isn't here, or not whole.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _cached(str(model), download)
    weights = [folder / name for name in WHOLE_MODELS if name.endswith(".safetensors")]
    indices = [index for index in (folder / f"{path.name}.index.json" for path in weights) if index.is_file()]
    lacking = [] if (folder / "config.json").is_file() else ["config.json"]
    if indices:
        lacking += [name for name in shard_names(indices[0]) if not (folder / name).is_file()]
    elif not any(path.is_file() for path in weights):
        lacking.append("model.safetensors")
    if lacking:
        raise MissingWeights(
            f"{folder} lacks {', '.join(lacking[:3])}{' …' if len(lacking) > 3 else ''}: it is no whole model in "
            "transformers' layout. Name its folder, or fetch it again (--download for a model of the Hub)."
        )
    return folder


def _cached(name: str, download: bool) -> Path:
    parts = name.split("/")
    if len(parts) != 2 or not all(parts) or name[0] in "./~" or os.sep != "/" and os.sep in name:
        raise MissingWeights(f"There is no folder {name}, and it is no Hub name of the form owner/model either.")
    hub = _load_library("huggingface_hub", "A model of the Hub")
    address = f"{endpoint()}/{name}"
    if download and is_offline():
        raise MissingWeights(f"{address} can't be fetched: HF_HUB_OFFLINE forbids the network.")
    try:
        return Path(hub.snapshot_download(name, allow_patterns=list(WANTED), local_files_only=not download))
    except Exception as error:  # the client's, its HTTP library's and the system's have no base in common
        if download:
            told = f"{address} could not be fetched ({first_line(error)}). Try again: what came is kept."
            raise MissingWeights(told) from error
        raise MissingWeights(
            f"{name} is neither a folder nor in the Hub's cache ({hub.constants.HF_HUB_CACHE}). Fetch it from "
            f"{address} with --download."
        ) from error
