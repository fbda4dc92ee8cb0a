"""What the two scoring nodes ask for alike, and how it becomes the engine's judge."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import comfy.model_management as management
from comfy_api.latest import io

from vividface_core.errors import InvalidOption, VividFaceError
from vividface_core.mllm.calibration import Calibration
from vividface_core.mllm.judges.allowed_servers import allowed_server
from vividface_core.mllm.judges.base import Judge
from vividface_core.mllm.judges.factory import JudgeOptions, make_judge
from vividface_core.mllm.judges.local import LocalJudge, LocalOptions
from vividface_core.mllm.judges.panel import Panel
from vividface_core.mllm.judges.sampling import Sampling
from vividface_core.mllm.judges.server_settings import server_settings
from vividface_core.mllm.judges.technical import NAME as TECHNICAL
from vividface_core.mllm.rubric import RUBRIC, Rubric, read_rubric, rubric_version
from vividface_core.mllm.scoring import judge_id

from .judge_models import ANY, MODEL_CACHE, ROOM, judge_model, judge_models
from .paths import files_in, fingerprint
from .schema import advanced

LOCAL, SERVER = "local model", "server"
JUDGES = [TECHNICAL, LOCAL, SERVER]
PRECISIONS = ["auto", "bf16", "fp16", "fp32", "4 bits"]
PAPER, NONE = "paper", "none"
MOST_PASSES = 16


def judge_inputs() -> list[io.Input]:
    """Inputs in their order for ever: saved workflows keep widget values by position."""
    return [
        io.Combo.Input(
            "judge",
            options=JUDGES,
            default=TECHNICAL,
            tooltip="Who grades. technical: sharpness, noise, blocks, light and steadiness are measured; no "
            "model looks at the video. local model: Qwen2.5-VL or Qwen3-VL on this machine. server: a model "
            "behind the chat-completions interface.",
        ),
        io.Combo.Input(
            "model",
            options=[ANY, *judge_models()],
            default=ANY,
            tooltip="For local model: a folder in models/LLM with the whole model, as it comes from the "
            "Hub. auto: the first one there.",
        ),
        io.String.Input(
            "server",
            default="",
            tooltip="For server: base URL, mostly with /v1 at its end. Only servers on this machine and "
            "those named in VIVIDFACE_MLLM_SERVERS or the settings file are asked; empty: the first named "
            "one. Keys are never written here; the help page tells where they go.",
        ),
        io.String.Input("server_model", default="", tooltip="For server: what it calls its model."),
        io.Float.Input(
            "threshold",
            default=-1.0,
            min=-1.0,
            max=100.0,
            step=0.5,
            tooltip="Videos with a higher score are kept; -1: as the rubric says, for the paper's 90.",
        ),
    ]


def judge_details() -> list[io.Input]:
    """More of them, at the end of each node."""
    return [
        advanced(
            io.Int.Input(
                "passes",
                default=1,
                min=1,
                max=MOST_PASSES,
                tooltip="Answers that are averaged, each drawn anew; for models, not for technical.",
            )
        ),
        advanced(
            io.Float.Input(
                "fps", default=Sampling.fps, min=0.01, max=60.0, step=0.5, tooltip="Frames shown of each second."
            )
        ),
        advanced(
            io.Int.Input(
                "frames",
                default=Sampling.frames,
                min=1,
                max=768,
                tooltip="Frames shown at most; longer videos are looked at more sparsely.",
            )
        ),
        advanced(
            io.Int.Input(
                "frame_pixels",
                default=Sampling.frame_pixels,
                min=4096,
                max=16_777_216,
                step=1024,
                tooltip="Pixels of a shown frame at most; larger frames are made smaller.",
            )
        ),
        advanced(
            io.Int.Input(
                "max_tokens",
                default=JudgeOptions.max_tokens,
                min=64,
                max=32_768,
                tooltip="Length of an answer at most.",
            )
        ),
        advanced(
            io.Combo.Input(
                "precision",
                options=PRECISIONS,
                default="auto",
                tooltip="For local model: type of its weights. auto: bf16 where the device has it, "
                "fp32 on the CPU. 4 bits needs bitsandbytes and a GPU.",
            )
        ),
        advanced(
            io.Combo.Input(
                "rubric",
                options=[PAPER, *files_in("rubrics", (".toml", ".json"))],
                default=PAPER,
                tooltip="Criteria: the VividFace paper's, or a file in models/vividface/rubrics.",
            )
        ),
        advanced(
            io.Combo.Input(
                "calibration",
                options=[NONE, *files_in("calibrations", (".json",))],
                default=NONE,
                tooltip="Correction of scores towards those of people: a file in "
                "models/vividface/calibrations, fitted for this judge with these settings.",
            )
        ),
    ]


def rubric_of(name: str | None) -> Rubric:
    """
    Raises:
        InvalidOption: there is no such file, or it is no rubric.
    """
    return RUBRIC if name in (None, PAPER) else read_rubric(_file("rubric", name, ".toml", ".json"))


def calibration_of(name: str | None) -> Calibration | None:
    """
    Raises:
        InvalidOption: there is no such file, or it is no calibration.
    """
    return None if name in (None, NONE) else Calibration.read(_file("calibration", name, ".json"))


def _file(what: str, name: str, *suffixes: str) -> Path:
    known = files_in(f"{what}s", suffixes)
    if name not in known:
        there = ", ".join(known) or "nothing yet"
        raise InvalidOption(f"There is no {what} {name} in models/vividface/{what}s; there is {there}.")
    return known[name]


def check_judge(judge: str | None) -> bool | str:
    """What can be known before running: True, or a sentence. ``None`` stands for what another node tells.

    The rest is said as the node begins: ComfyUI would repeat the sentence for each input that is asked for here.
    """
    try:
        if judge is not None and judge not in JUDGES:
            raise InvalidOption(f"judge is {judge!r}; choose one of {', '.join(JUDGES)}.")
        if judge == LOCAL:
            judge_model(ANY)
    except VividFaceError as error:
        return str(error)
    return True


def make(values: dict[str, Any]) -> tuple[Judge, Calibration | None, list[str]]:
    """The judge, ready to be asked, the correction of its scores, and notices for the user.

    Raises:
        VividFaceError: a model or a server is missing, or the calibration isn't this judge's.
    """
    if (told := check_judge(values["judge"])) is not True:
        raise InvalidOption(str(told))  # not every node asks beforehand
    passes, most = values["passes"], 1 if values["judge"] == TECHNICAL else MOST_PASSES
    if not 1 <= passes <= most:
        raise InvalidOption(f"passes is {passes}; it is from 1 to {MOST_PASSES}, and 1 for what only measures.")
    if values["judge"] == SERVER and not values["server_model"].strip():
        raise InvalidOption("Say in server_model what the server calls its model.")
    rubric, pixels = rubric_of(values["rubric"]), values["frame_pixels"]
    sampling = Sampling(values["fps"], values["frames"], pixels, max(Sampling.total_pixels, pixels))
    options = JudgeOptions(
        rubric,
        sampling,
        values["server_model"].strip(),
        values["passes"],
        max_tokens=values["max_tokens"],
        quiet=True,
        named_only=True,
    )
    notices: list[str] = []
    judge: Judge
    if values["judge"] == LOCAL:
        judge = _local(judge_model(values["model"]), values["precision"], options)
        judge = Panel([judge], options.passes) if options.passes > 1 else judge
    elif values["judge"] == SERVER:
        judge, notices = make_judge([f"openai:{allowed_server(values['server'])[0]}"], options)
    else:
        judge, notices = make_judge(["technical"], options)
    calibration = calibration_of(values["calibration"])
    if calibration is not None:
        calibration.correct(
            0.0, rubric=rubric_version(rubric), judge=judge_id(judge.identity)
        )  # it fits, said before the work
    return judge, calibration, notices


def _local(folder: Path, precision: str, options: JudgeOptions) -> LocalJudge:
    device = management.get_torch_device()

    def judge(local: LocalOptions, loaded: Any = None) -> LocalJudge:
        local = replace(local, max_tokens=options.max_tokens, temperature=options.effective_temperature, quiet=True)
        return LocalJudge(folder, options.sampling, options.rubric, local, options.tries, loaded)

    if precision == "4 bits":  # such weights stay where they were made, so ComfyUI can't move them
        weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))
        management.free_memory(weights // 3 + ROOM, device)
        return judge(LocalOptions(str(device), four_bit=True))
    if precision == "auto":
        precision = "fp32" if device.type == "cpu" else "bf16" if management.should_use_bf16(device) else "fp16"
    return MODEL_CACHE.judge(folder, precision, lambda loaded: judge(LocalOptions("cpu", precision), loaded))


def external_digest(values: dict[str, Any]) -> str:
    """A digest of what decides an answer and isn't in the graph: files, and how the server is to be asked."""
    parts: list[Any] = []
    try:
        rubric, calibration = rubric_of(values["rubric"]), calibration_of(values["calibration"])
        parts += [rubric_version(rubric), calibration and calibration.to_json()]
        if values["judge"] == LOCAL:
            parts.append(fingerprint(judge_model(values["model"]), blocks=2))
        if values["judge"] == SERVER:
            address = allowed_server(values["server"])[0]
            parts += [address, asdict(replace(server_settings(address)[0], key=None))]
    except VividFaceError as error:
        parts.append(str(error))  # said when it runs
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()
