"""What mkdocs needs to make a site of pages that are read in the repository too.

README.md is the first page. Links from it into docs/ become the site's own; files outside docs/ aren't part of the
site, so a link to one becomes its path.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
ROLE = re.compile(r":(?:attr|class|data|exc|func|meth|mod):<code>(~?)([^<]*)</code>")
LINK = re.compile(r"(!?)\[([^\]]*)\]\((<[^>]*>|[^)\s]*)\)")


def on_files(files: Files, config: Any) -> Files:
    """README.md as index.md."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "index.md", content=_relinked(text, ROOT)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Links out of docs/ as paths."""
    if page.file.src_uri == "index.md":
        return markdown
    return _relinked(markdown, Path(config["docs_dir"]) / Path(page.file.src_uri).parent)


def on_page_content(html: str, **_: Any) -> str:
    """The docstrings' roles as code; a name after ~ without its modules."""
    return ROLE.sub(lambda m: f"<code>{m[2].rpartition('.')[2] if m[1] else m[2]}</code>", html)


def _relinked(text: str, folder: Path) -> str:
    docs = ROOT / "docs"

    def relinked(found: re.Match[str]) -> str:
        mark, label, target = found.groups()
        place, _, part = target.strip("<>").partition("#")
        if not place or "://" in place or place.startswith("mailto:"):
            return found.group(0)
        path = (folder / place).resolve()
        if path.is_relative_to(docs):
            if folder != ROOT:
                return found.group(0)
            inside = path.relative_to(docs).as_posix() + (f"#{part}" if part else "")
            return f"{mark}[{label}]({inside})"
        known = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else place
        return label if label.strip("`") == known else f"{label} (`{known}`)"

    return LINK.sub(relinked, text)
