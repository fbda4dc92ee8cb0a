"""The end of a batch: a table for people, JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Collection
from typing import Any

from tqdm import tqdm

from vividface_core.comfy_client.files import Item

LEFT = "not done"
KEYS = ("workflow_hash", "counts", "files", "servers")
"""Of a report, by which a later run knows it for its own."""


def table(items: list[Item], told: Collection[str] = ()) -> str:
    """A line a file (state, seconds, name, server, results or reason), and the counts below.

    Args:
        told: names of files whose reason the reader has seen already.
    """
    if not items:
        return ""
    wide = max(len(item.name) for item in items)
    host = max(len(item.server) for item in items)
    lines = []
    for item in items:
        seconds = f"{item.seconds:8.1f} s" if item.seconds else " " * 10
        reason = "" if item.name in told else " ".join(item.reason.split())
        rest = reason if item.reason else ", ".join(item.outputs)
        lines.append(f"{_state(item):<8} {seconds}  {item.name:<{wide}}  {item.server:<{host}}  {rest}".rstrip())
    counts = counted(items)
    lines.append(", ".join(f"{number} {state}" for state, number in counts.items() if number))
    return "\n".join(lines)


def counted(items: list[Item]) -> dict[str, int]:
    """How many files are done, skipped, failed and not done."""
    counts = {"done": 0, "skipped": 0, "failed": 0, LEFT: 0}
    for item in items:
        counts[_state(item)] += 1
    return counts


def report(items: list[Item], servers: list[dict[str, Any]], **details: Any) -> dict[str, Any]:
    """The same as JSON values.

    Args:
        servers: address, files done, times lost and last reason of each.
        details: about the run as a whole.
    """
    files = [
        {
            "name": item.name,
            "state": _state(item),
            "seconds": round(item.seconds, 2),
            "server": item.server or None,
            "outputs": item.outputs,
            "reason": item.reason or None,
            "sent": item.starts,
        }
        for item in items
    ]
    return {**details, "counts": counted(items), "files": files, "servers": servers}


def _state(item: Item) -> str:
    return item.state if item.state in ("done", "skipped", "failed") else LEFT


class Console:
    """One bar for the files, and one for the current file of each server.

    Args:
        total: number of files.
        servers: addresses.
        quiet: no bars and no line for a finished file; failures and lost servers are still told.
    """

    def __init__(self, total: int, servers: list[str], *, quiet: bool = False) -> None:
        self._quiet, self._count, self._total = quiet, 0, total
        self.told: dict[str, str] = {}
        """The last reason of failure that was told of a file, by its name."""
        # Without a terminal, bars would be thousands of lines.
        off = quiet or not sys.stderr.isatty()
        self._files = tqdm(total=total, desc="files", unit="file", file=sys.stderr, position=0, disable=off)
        layout = "{desc} |{bar:20}| {n:3.0f} % {elapsed}"
        self._bars = {
            server: tqdm(
                total=100,
                desc=f"{server}  idle",
                file=sys.stderr,
                position=place,
                leave=False,
                bar_format=layout,
                disable=off,
            )
            for place, server in enumerate(servers, 1)
        }

    def share(self, server: str, item: Item, step: str, share: float) -> None:
        """Show how far the current file of a server is; ``step`` says what happens to it."""
        self._show(server, f"{server}  {item.name}  {step}", 100 * share)

    def idle(self, server: str, state: str = "idle") -> None:
        """Show that a server works on nothing."""
        self._show(server, f"{server}  {state}", 0)

    def _show(self, server: str, text: str, percent: float) -> None:
        bar = self._bars[server]
        bar.set_description_str(text, refresh=False)
        if percent < bar.n:
            bar.reset()
        bar.update(percent - bar.n)

    def finished(self, item: Item) -> None:
        """Count a file that is done, skipped or failed."""
        self._count += 1
        self._files.update(1)
        details = {
            "done": f"{item.seconds:.1f} s on {item.server}: {', '.join(item.outputs)}",
            "skipped": f"is done already: {', '.join(item.outputs)}",
            "failed": "as before" if self.told.get(item.name) == item.reason else item.reason,
        }
        if item.state == "failed":
            self.told[item.name] = item.reason
        if not self._quiet or item.state == "failed":
            self.notice(f"[{self._count}/{self._total}] {item.name} {item.state}: {details[item.state]}")

    def again(self, item: Item, reason: str) -> None:
        """A file failed and is tried again."""
        self.told[item.name] = reason
        self.notice(f"{item.name} is tried again. {reason}")

    @property
    def seen(self) -> Collection[str]:
        """Files whose reason stands on the same terminal as the results."""
        return self.told if sys.stderr.isatty() and sys.stdout.isatty() else ()

    def notice(self, text: str) -> None:
        """A line that stays."""
        tqdm.write(f"vividface: {text}", file=sys.stderr)

    def close(self) -> None:
        """End the bars."""
        for bar in (*self._bars.values(), self._files):
            bar.close()
