"""A model behind a server with the chat-completions interface: vLLM, SGLang, Ollama, llama.cpp, or a hosted one."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import Any

from torch import Tensor

from vividface_core.errors import InvalidOption, MissingDependency
from vividface_core.mllm.judges.base import MAX_ATTEMPTS, Reply, WritingJudge
from vividface_core.mllm.judges.http import Refused, Transport
from vividface_core.mllm.judges.sampling import SampledFrames, Sampling, sample
from vividface_core.mllm.judges.server_settings import ServerSettings
from vividface_core.mllm.rubric import RUBRIC, Rubric, answer_schema, render_prompt
from vividface_core.video.source import VideoFrames

KINDS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "quicktime", ".webm": "webm", ".mkv": "x-matroska", ".avi": "x-msvideo"}
"""Media types of video files, by suffix."""


class ServerJudge(WritingJudge):
    """Asks a server, with the frames as JPEG pictures in order, or with the file itself.

    Threads may share it: pace and number of requests hold for all of them together.

    Args:
        address: base URL, mostly with ``/v1`` at its end.
        model: as the server calls it.
        max_tokens: of one answer; doubled, twice at most, after an answer that was cut off.
        temperature: 0: the likeliest word, as far as the server keeps to that.

    Raises:
        InvalidOption: no such address, or no model named.
    """

    def __init__(
        self,
        address: str,
        model: str,
        sampling: Sampling | None = None,
        rubric: Rubric = RUBRIC,
        settings: ServerSettings | None = None,
        max_tokens: int = 2048,
        temperature: float = 0.0,
        tries: int = MAX_ATTEMPTS,
    ) -> None:
        super().__init__(sampling or Sampling(), rubric, tries)
        if not model:
            raise InvalidOption("Say which model the server is to use: --model NAME.")
        if max_tokens < 1 or temperature < 0:
            raise InvalidOption("--max-tokens must be 1 or more, and --temperature 0 or more.")
        self._settings = settings or ServerSettings()
        self._transport = Transport(address, self._settings)
        self._model, self._max_tokens, self._temperature = model, max_tokens, temperature
        self._structured, self._lock = self._settings.structured, threading.Lock()
        self.concurrency = self._settings.concurrency
        self.name = f"openai:{self._transport.address} {model}"
        self.notices: list[str] = []
        self.identity |= {
            "kind": "openai",
            "model": model,
            "send": self._settings.send,
            "side": self._settings.side,
            "quality": self._settings.quality,
            "structured": self._settings.structured,
            "max_tokens": max_tokens,
            "temperature": temperature,
        }

    def look(self, source: VideoFrames) -> SampledFrames:
        longest = self._settings.side / max(source.size)
        side = int(source.size[0] * source.size[1] * longest * longest)
        pixels = max(min(self.sampling.frame_pixels, side), 64 * 64)
        return sample(
            source, Sampling(self.sampling.fps, self.sampling.frames, pixels, max(self.sampling.total_pixels, pixels))
        )

    def ask(self, shown: SampledFrames, complaint: str, number: int) -> Reply:
        pictures = self._pictures(shown)
        structured = self._structured
        try:
            return self._chat(pictures, shown, complaint, number, structured)
        except Refused as error:
            if not structured or error.status not in (400, 422, 501):
                raise
            try:
                reply = self._chat(pictures, shown, complaint, number, structured=False)
            except Refused:
                raise error from None  # it wasn't the form of the answer
            self._without_structure(error)
            return reply

    def _without_structure(self, error: Refused) -> None:
        with self._lock:
            if self._structured:
                self._structured = False
                self.notices.append(f"{self.name} takes no answer schema and is asked for text. {error}")

    def _chat(
        self, pictures: list[dict[str, Any]], shown: SampledFrames, complaint: str, number: int, structured: bool
    ) -> Reply:
        prompt = render_prompt(self.rubric, form="json" if structured else "text")
        text = "\n".join(filter(None, (self._introduction(shown), prompt, complaint)))
        body = {
            "model": self._model,
            "temperature": self._temperature,
            "stream": self._settings.stream,
            "messages": [{"role": "user", "content": [*pictures, {"type": "text", "text": text}]}],
        }
        if self._temperature > 0:
            body["seed"] = number
        if structured:
            schema = {"name": "assessment", "schema": answer_schema(self.rubric), "strict": True}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        answer, facts = self._transport.chat(
            lambda cut: {**body, self._settings.tokens_field: self._max_tokens << min(cut, 2)},
            self.stopped,
        )
        return Reply(answer, {**facts, "structured": structured})

    def _introduction(self, shown: SampledFrames) -> str:
        if self._settings.send == "video":
            return ""
        times = ", ".join(f"{time:.2f}" for time in shown.times)
        return (
            f"The {len(shown)} pictures are frames of one video, in order, at these seconds: {times}. "
            "Wherever a video is spoken of, it is this one.\n"
        )

    def _pictures(self, shown: SampledFrames) -> list[dict[str, Any]]:
        if self._settings.send == "video":
            return [{"type": "video_url", "video_url": {"url": _file(shown)}}]
        return [
            {"type": "image_url", "image_url": {"url": _data("image/jpeg", jpeg(frame, self._settings.quality))}}
            for frame in shown.pixels
        ]


def jpeg(pixels: Tensor, quality: int) -> bytes:
    """``[3, H, W]`` uint8 as JPEG with full colour resolution: the judge is to see the video's artifacts, not ours.

    Raises:
        MissingDependency: Pillow is absent or broken.
    """
    try:
        from PIL import Image
    except Exception as error:
        raise MissingDependency(
            f"Pictures for a server need Pillow, which does not import here ({error}). Install it with: "
            "pip install -U Pillow"
        ) from error
    stream = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def _file(shown: SampledFrames) -> str:
    path: Path | None = shown.path
    if path is None or path.suffix.lower() not in KINDS:
        raise InvalidOption(
            f"{shown.name} can't be sent as a video: that takes one whole file ({', '.join(KINDS)}). Use --send images."
        )
    return _data(f"video/{KINDS[path.suffix.lower()]}", path.read_bytes())


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
