"""Command-line options that name a judge, and the settings made of them. Importing this needs no torch."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from vividface_core.errors import InvalidOption

if TYPE_CHECKING:
    from vividface_core.mllm.judges.factory import JudgeOptions
    from vividface_core.mllm.rubric import Rubric


def add_judge_options(parser: argparse.ArgumentParser, prefix: str = "") -> None:
    """Add the options that say who judges, by which criteria, and what the judge is shown; :func:`judge_options` reads
    them.

    Args:
        prefix: of ``--fps`` and ``--frames``, for a command that means something else by these.
    """
    add = parser.add_argument
    add(
        "--judge",
        action="append",
        default=[],
        metavar="JUDGE",
        help="local:PATH (Qwen2.5-VL or Qwen3-VL: a folder, or a Hub name that is in the cache), openai:URL (a server "
        "with the chat-completions interface: vLLM, SGLang, Ollama, llama.cpp, hosted) or technical (measurements, no "
        "multimodal model); several are averaged",
    )
    add("--model", default="", metavar="NAME", help="what the server calls its model")
    add("--passes", type=int, default=1, metavar="N", help="answers of each judge that are averaged (default 1)")
    add("--temperature", type=float, metavar="T", help="with --passes (default 0.7 then; a single answer: 0)")
    add("--tries", type=int, default=3, metavar="N", help="unusable answers until a video counts as failed (default 3)")
    add(
        f"--{prefix}fps",
        dest="shown_fps",
        type=float,
        default=2.0,
        metavar="F",
        help="frames shown of each second (default 2)",
    )
    add(
        f"--{prefix}frames",
        dest="shown_frames",
        type=int,
        default=32,
        metavar="N",
        help="frames shown at most (default 32)",
    )
    add("--frame-pixels", type=int, default=602112, metavar="N", help="pixels of a frame at most (default 602112)")
    add("--rubric", type=Path, metavar="FILE", help="criteria other than the paper's")
    add("--calibration", type=Path, metavar="FILE", help="correction of final scores, fitted to those of people")
    server = parser.add_argument_group(
        "servers",
        "A key is taken from VIVIDFACE_MLLM_KEY or the settings file "
        "~/.config/vividface/mllm.toml, which may also hold these options.",
    )
    add = server.add_argument
    add("--key-env", metavar="NAME", help="environment variable with the key, such as OPENAI_API_KEY")
    add("--send", choices=("images", "video"), help="frames as JPEG pictures (default), or the file itself")
    add("--rate", type=float, metavar="N", help="requests a minute at most")
    add("--concurrency", type=int, metavar="N", help="requests at the same time (default 1)")
    add("--timeout", type=float, metavar="SECONDS", help="of one answer (default 180)")
    add("--retries", type=int, metavar="N", help="further attempts after a failure that may pass (default 5)")
    local = parser.add_argument_group("models on this machine")
    add = local.add_argument
    add("--device", default="auto", help="auto, cpu, cuda, cuda:N, mps, xpu, or spread (over all GPUs)")
    add("--dtype", default="auto", help="auto (bf16, on the CPU fp32), fp32, bf16 or fp16")
    add("--four-bit", action="store_true", help="weights in 4 bits, through bitsandbytes")
    add("--download", action="store_true", help="fetch a model of the Hub that isn't in the cache")
    parser.add_argument(
        "--max-tokens", type=int, default=2048, metavar="N", help="length of an answer at most (default 2048)"
    )


def judge_options(args: argparse.Namespace, rubric: Rubric) -> JudgeOptions:
    """The settings that the options of :func:`add_judge_options` stand for.

    Raises:
        InvalidOption: no judge is named, or a value makes no sense.
    """
    from vividface_core.mllm.judges.factory import KINDS, JudgeOptions
    from vividface_core.mllm.judges.sampling import Sampling

    if not args.judge:
        raise InvalidOption(f"Name who is to judge with --judge: {KINDS}.")
    if args.model and not any(name.startswith("openai:") for name in args.judge):
        raise InvalidOption("--model names a server's model; a judge on this machine is local:PATH.")
    sampling = Sampling(
        args.shown_fps, args.shown_frames, args.frame_pixels, max(Sampling.total_pixels, args.frame_pixels)
    )
    server = {
        "send": args.send,
        "requests_per_minute": args.rate,
        "concurrency": args.concurrency,
        "timeout": args.timeout,
        "retries": args.retries,
    }
    return JudgeOptions(
        rubric,
        sampling,
        args.model,
        args.passes,
        args.tries,
        args.temperature,
        args.max_tokens,
        args.device,
        args.dtype,
        args.four_bit,
        args.download,
        args.quiet,
        args.key_env,
        server,
    )
