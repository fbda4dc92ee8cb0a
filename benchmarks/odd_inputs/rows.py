"""One row of the table: an input, a command, and what has to come of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.odd_inputs.material import Make


@dataclass(frozen=True)
class Row:
    """An input with a command.

    Attributes:
        kind: the section it stands in.
        what: the input in words.
        make: fills an empty folder.
        words: the command without ``vividface``; ``R`` at its begin stands for a restoration of whole frames by a
            small model, which is quick; ``{model}`` is that model.
        status: the exit status that is right.
        told: words that have to be in what is said, in any order, apart by ``|``; empty: nothing has to be said.
        same: facts of :class:`~vividface_core.video.info.VideoInfo` that the output must share with the input.
        values: facts that the output must have, by name.
        output: what the command makes, where that isn't what follows ``-o``.
        environment: variables; a command with some runs as a program of its own.
        pipe: whether stdout's reader leaves after the first line.
    """

    kind: str
    what: str
    make: Make
    words: str
    status: int = 0
    told: str = ""
    same: str = ""
    values: dict[str, object] = field(default_factory=dict)
    output: str | None = None
    environment: dict[str, str] = field(default_factory=dict)
    pipe: bool = False

    def arguments(self, model: Path) -> list[str]:
        """The words of the command; ``␣`` and ``␊`` stand for a blank and a line break within one."""
        words = [_plain(word).replace("{model}", str(model)) for word in self.words.split()]
        if words[0] == "R":
            words = ["restore", *words[1:], "--whole-frame", "--model", str(model), "--quiet"]
        return words

    def shown(self) -> str:
        """The command as the table shows it."""
        words = self.words.replace("--model {model}", "").replace("␣", " ")
        words = "restore" + words[1:] if words.startswith("R ") else words
        return " ".join(words.split(" ")).strip()

    def mark(self) -> str:
        """Differs from that of any other row; how the input is made doesn't count."""
        said = [getattr(self, name) for name in ("kind", "what", "words", "status", "told", "same", "values")]
        return hashlib.sha256(repr(said).encode("utf-8", "surrogateescape")).hexdigest()[:16]

    def made(self) -> str | None:
        """What the command writes."""
        words = self.words.split()
        named = _plain(words[words.index("-o") + 1]) if "-o" in words else None
        return self.output or named


def _plain(word: str) -> str:
    return word.replace("␣", " ").replace("␊", "\n")
