"""How many lines the product has at several commits, however each was formatted.

``python -m benchmarks.product_lines BASE [HEAD] [--by-commit]``

Counted are the Python, JavaScript, CSS and HTML files below ``vividface_core``, ``nodes``, ``training`` and ``web``.
Before that every commit's Python is formatted anew by the same ``ruff format`` (120 columns; trailing commas and
comments that hold a layout don't count), so that a change of layout counts for nothing. A file of HEAD is *kept* if git
finds the file of BASE that it came from (half of it alike, or the same name), else *new*: a new file may be a new
feature or a piece of an old file, so both sums are told, and the new files by name.

``--by-commit`` tells what each commit between the two adds or takes, formatted alike before and after, without merges:
work on names, places and mechanisms and work on features stand in different commits.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from training.assets.revisions import unpack

ROOMS = ("vividface_core", "nodes", "training", "web")
SUFFIXES = (".py", ".js", ".css", ".html")
STOPS = re.compile(r"[ \t]*# fmt: *(skip|off|on)\b")


def git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout


def count(commit: str) -> dict[str, int]:
    """Lines of each of the product's files, by path."""
    there = [room for room in ROOMS if git("ls-tree", commit, room)]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        unpack(commit, root, Path(), there)
        files = [path for path in sorted(root.rglob("*")) if path.suffix in SUFFIXES and path.is_file()]
        for path in files:
            if path.suffix == ".py":
                path.write_text(STOPS.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
        options = ("--isolated", "--line-length", "120", "--config", "format.skip-magic-trailing-comma=true", "--quiet")
        subprocess.run([sys.executable, "-m", "ruff", "format", *options, folder], check=True)
        return {path.relative_to(root).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}


def new_files(base: str, head: str) -> set[str]:
    """Files of ``head`` that came from none of ``base``."""
    rows = git("diff", "--name-status", "--find-renames=50%", "--diff-filter=A", "-l0", base, head, "--", *ROOMS)
    return {row.split("\t")[1] for row in rows.splitlines()}


def compare(base: str, head: str) -> None:
    before, after, new = count(base), count(head), new_files(base, head)
    print(f"| room | {base} | {head} | difference | of it in new files |\n|---|---|---|---|---|")
    for room in (*ROOMS, ""):
        old, now = (sum(n for path, n in lines.items() if path.startswith(room)) for lines in (before, after))
        fresh = sum(n for path, n in after.items() if path.startswith(room) and path in new)
        print(f"| {room or 'all'} | {old} | {now} | {now - old:+} | {fresh} |")
    print("\nNew files: " + ", ".join(f"{path} {after[path]}" for path in sorted(new & after.keys())))


def by_commit(base: str, head: str) -> None:
    known: dict[str, int] = {}

    def total(commit: str) -> int:
        if commit not in known:
            known[commit] = sum(count(commit).values())
        return known[commit]

    rows = []
    for line in git("log", "--no-merges", "--format=%h %p %s", f"{base}..{head}", "--", *ROOMS).splitlines():
        commit, parent, subject = line.split(" ", 2)
        rows.append((total(commit) - total(parent), commit, subject))
    for change, commit, subject in sorted(rows):
        print(f"{change:+6} {commit} {subject}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base")
    parser.add_argument("head", nargs="?", default="HEAD")
    parser.add_argument("--by-commit", action="store_true")
    args = parser.parse_args()
    (by_commit if args.by_commit else compare)(args.base, args.head)


if __name__ == "__main__":
    main()
