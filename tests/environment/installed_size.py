"""What an installation of the pack adds to a ComfyUI: packages, megabytes, and versions that changed.

``python tests/environment/installed_size.py PYTHON`` installs ``requirements.txt`` with that Python (of a ComfyUI's own
environment); ``--without-facexlib`` installs facexlib without what it asks for, and the rest.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
ASK = """
import importlib.metadata as metadata, json, os
sizes = {}
for found in metadata.distributions():
    paths = (found.locate_file(file) for file in found.files or ())
    size = sum(os.path.getsize(path) for path in paths if os.path.isfile(path))
    sizes[found.metadata["Name"].lower()] = found.version, size
print(json.dumps(sizes))
"""


def installed(python: str) -> dict[str, tuple[str, int]]:
    """Version and bytes of every package of an environment."""
    run = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=True)
    return {name: tuple(facts) for name, facts in json.loads(run.stdout).items()}


def install(python: str, without_facexlib: bool) -> None:
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if not without_facexlib:
        subprocess.run([*pip, "--requirement", str(REQUIREMENTS)], check=True)
        return
    lines = [line.partition("#")[0].strip() for line in REQUIREMENTS.read_text().splitlines()]
    subprocess.run([*pip, "--no-deps", *(line for line in lines if line.startswith("facexlib"))], check=True)
    subprocess.run([*pip, *(line for line in lines if line and not line.startswith("facexlib"))], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("python", help="the Python of a ComfyUI's environment")
    parser.add_argument("--without-facexlib", action="store_true", help="facexlib without what it asks for")
    args = parser.parse_args()
    before = installed(args.python)
    install(args.python, args.without_facexlib)
    after = installed(args.python)
    added = {name: facts for name, facts in after.items() if name not in before}
    for name, (version, size) in sorted(added.items(), key=lambda item: -item[1][1]):
        print(f"{size / 1e6:8.1f} MB  {name} {version}")
    print(f"{sum(size for _, size in added.values()) / 1e6:8.1f} MB in {len(added)} packages")
    changed = [name for name, facts in before.items() if name not in after or after[name][0] != facts[0]]
    print(f"changed: {', '.join(changed) or 'nothing'}")


if __name__ == "__main__":
    main()
