"""A server that speaks the chat-completions interface, and misbehaves as told: ``python -m tests.openai_server``.

It prints its port, then serves. Its model is ``judge`` and gives a fixed answer. ``POST /script`` takes a list of what
the next requests get, one word each (see :data:`MISDEEDS`); ``GET /seen`` tells what came in.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request

from aiohttp import web

from tests.paths import REPOSITORY

KEY = "sk-right-8f3a91"
SCORES = {"clarity": 30, "stability": 17, "lighting": 16, "artifacts": 12, "occlusion": 9}
"""Base 84; with the bonus for colour 85."""
MISDEEDS = {
    "ok",
    "text",
    "429",
    "429-long",
    "500",
    "slow",
    "held",
    "drip",
    "reset",
    "truncated",
    "garbage",
    "no-choices",
    "length",
    "empty",
    "refusal",
    "nonsense",
    "no-schema",
    "400",
    "403",
    "redirect",
    "stream-cut",
}
"""``ok=30`` gives 30 for clarity; ``slow=2`` and ``429=2`` are seconds; ``held`` answers after ``POST
schema."""


def answer(structured: bool, clarity: int = SCORES["clarity"]) -> str:
    """A good answer, in JSON or as lines."""
    scores = {**SCORES, "clarity": clarity}
    base = sum(scores.values())
    if structured:
        return json.dumps(
            {
                "scores": {key: {"score": value, "reason": f"{key} seen"} for key, value in scores.items()},
                "base_score": base,
                "adjustments": [{"rule": "color", "points": 1, "reason": "true colours"}],
                "total_adjustment": 1,
                "final_score": base + 1,
                "quality_tier": "Premium",
                "critical_issues": [],
                "motion_blur_check": "none in eyes, mouth or teeth",
            }
        )
    limits = {"clarity": 35, "stability": 20, "lighting": 20, "artifacts": 15, "occlusion": 10}
    lines = [f"{key.title()}: {value}/{limits[key]} ({key} seen)" for key, value in scores.items()]
    return "\n".join(
        [
            "STEP 1 - Individual Scores:",
            *lines,
            "STEP 2 - Base Score Calculation:",
            f"Base Score = {' + '.join(map(str, scores.values()))} = {base}/100",
            "STEP 3 - Bonus/Penalty Adjustments:",
            "Perfect color: +1 points (true colours)",
            "Total Adjustment: +1 points",
            "STEP 4 - Final Results:",
            f"Final Score = {base} (Base) + 1 (Adjustment) = {base + 1}/100",
            "Quality Tier: Premium",
            "Critical Issues: None",
            "Motion Blur Check: none in eyes, mouth or teeth",
        ]
    )


class Server:
    """What came in, and what is to come out."""

    def __init__(self, key: str | None) -> None:
        self.key, self.script, self.seen, self.busy, self.most = key, [], [], 0, 0
        self.released = asyncio.Event()

    async def set_script(self, request: web.Request) -> web.Response:
        self.script, self.seen, self.most = await request.json(), [], 0
        self.released = asyncio.Event()
        unknown = {word for word in self.script if word.split("=")[0] not in MISDEEDS}
        return web.json_response({"error": sorted(unknown)}, status=400 if unknown else 200)

    async def release(self, _: web.Request) -> web.Response:
        self.released.set()
        return web.json_response({})

    async def tell(self, _: web.Request) -> web.Response:
        return web.json_response({"requests": self.seen, "most_at_once": self.most})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        given = request.headers.get("Authorization", "").removeprefix("Bearer ")
        allowed = given == self.key or not self.key
        word = self.script.pop(0) if self.script and allowed else "ok"
        self.seen.append(
            {
                "at": time.monotonic(),
                "body": body,
                "authorization": request.headers.get("Authorization"),
                "path": request.path,
                "word": word,
            }
        )
        if not allowed:
            return failed(401, f"Incorrect API key provided: {given}. Ask your administrator.")
        self.busy += 1
        self.most = max(self.most, self.busy)
        try:
            return await self._do(request, body, *word.partition("=")[::2])
        finally:
            self.busy -= 1

    async def _do(self, request: web.Request, body: dict, word: str, value: str) -> web.StreamResponse:
        structured = "response_format" in body
        text = answer(structured and word != "text", int(value or SCORES["clarity"]) if word == "ok" else 30)
        if word == "429":
            return failed(429, "Rate limit reached", {"Retry-After": value or "0.3"})
        if word == "429-long":
            return failed(429, "Quota used up", {"Retry-After": "86400"})
        if word in ("500", "400", "403"):
            return failed(int(word), f"scripted {word}")
        if word == "no-schema":
            return failed(400, "response_format is not supported by this model")
        if word == "redirect":
            raise web.HTTPFound("http://127.0.0.1:9/elsewhere")
        if word == "slow":
            await asyncio.sleep(float(value or 1))
        if word == "held":
            await self.released.wait()
        if word == "garbage":
            return web.Response(text="<html>gateway says hello</html>", content_type="text/html")
        if word == "no-choices":
            return web.json_response({"choices": []})
        if word in ("reset", "truncated", "drip"):
            return await self._broken(request, word, completion(text))
        if body.get("stream"):
            return await self._stream(request, text, cut=word == "stream-cut")
        if word == "length":
            return web.json_response(completion(text[: len(text) // 2], "length"))
        if word == "empty":
            return web.json_response(completion(""))
        if word == "refusal":
            return web.json_response(completion("I'm sorry, but I can't help with grading people."))
        if word == "nonsense":
            return web.json_response(completion("lorem ipsum dolor sit amet"))
        return web.json_response(completion(text))

    async def _broken(self, request: web.Request, word: str, content: dict) -> web.StreamResponse:
        data = json.dumps(content).encode()
        if word == "reset":
            request.transport.abort()
            return web.Response()
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(data))})
        await response.prepare(request)
        if word == "truncated":
            await response.write(data[: len(data) // 2])
            request.transport.close()
            return response
        for byte in data:
            await response.write(bytes([byte]))
            await asyncio.sleep(0.05)
        return response

    async def _stream(self, request: web.Request, text: str, cut: bool) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        pieces = [text[start : start + 40] for start in range(0, len(text), 40)]
        for piece in pieces[: len(pieces) // 2] if cut else pieces:
            await response.write(event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]}))
        if not cut:
            await response.write(event({"choices": [{"delta": {}, "finish_reason": "stop"}], "model": "judge"}))
            await response.write(b"data: [DONE]\n\n")
        return response


def event(content: dict) -> bytes:
    return f"data: {json.dumps(content)}\n\n".encode()


def completion(text: str, reason: str = "stop") -> dict:
    return {
        "id": "1",
        "object": "chat.completion",
        "model": "judge",
        "usage": {"prompt_tokens": 7, "completion_tokens": 5},
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
    }


def failed(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    return web.json_response({"error": {"message": message, "type": "scripted"}}, status=status, headers=headers)


class Remote:
    """The server process, seen from a test; it wants :data:`KEY`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.openai_server", KEY], cwd=REPOSITORY, text=True, stdout=subprocess.PIPE
        )
        self.root = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        self.address = f"{self.root}/v1"

    def script(self, *words: str) -> None:
        data = json.dumps(words).encode()
        urllib.request.urlopen(urllib.request.Request(f"{self.root}/script", data=data, method="POST")).close()

    def release(self) -> None:
        """Let the answers that are ``held`` go."""
        urllib.request.urlopen(urllib.request.Request(f"{self.root}/release", data=b"", method="POST")).close()

    def seen(self) -> list[dict]:
        return self.told()["requests"]

    def told(self) -> dict:
        with urllib.request.urlopen(f"{self.root}/seen") as response:
            return json.load(response)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


async def serve(key: str | None) -> None:
    """Print the port on a line of its own, then serve until killed."""
    server = Server(key)
    app = web.Application(client_max_size=64 << 20)
    app.router.add_post("/v1/chat/completions", server.chat)
    app.router.add_post("/script", server.set_script)
    app.router.add_post("/release", server.release)
    app.router.add_get("/seen", server.tell)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1] if len(sys.argv) > 1 else None))
