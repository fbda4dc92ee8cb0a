"""What the pack asks of ComfyUI, held against the one that the tests run, and against the other generation's names."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

from tests.comfyui.server import comfy_folder, comfy_python, comfy_version
from tests.paths import REPOSITORY

NAMES = Path(__file__).with_name("core_names.json")
"""What the pack uses of ComfyUI's modules, as far as each generation has it; see :func:`main`."""
CORE = ("comfy", "comfy_api", "comfy_execution", "folder_paths", "nodes", "server")

ASK = """
import importlib, inspect, json, sys
sys.path.insert(0, sys.argv[1])
names = json.loads(sys.argv[2])
import comfy.options
comfy.options.enable_args_parsing()
sys.argv = [sys.argv[0], "--cpu"]
def there(name):
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for part in parts[cut:]:
            if not hasattr(value, part):
                return False
            value = getattr(value, part)
        return True
    return False
print("ANSWER" + json.dumps({name: there(name) for name in names}))
"""

ABSTRACT = """
import asyncio, importlib.util, inspect, json, sys
sys.path.insert(0, sys.argv[1])
import comfy.options
comfy.options.enable_args_parsing()
pack = sys.argv[2]
sys.argv = [sys.argv[0], "--cpu"]
spec = importlib.util.spec_from_file_location("the_pack", pack + "/__init__.py", submodule_search_locations=[pack])
module = importlib.util.module_from_spec(spec)
sys.modules["the_pack"] = module
spec.loader.exec_module(module)
extension = asyncio.run(module.comfy_entrypoint())
for node in asyncio.run(extension.get_node_list()):
    node.GET_SCHEMA()
left = {}
for name, module in list(sys.modules.items()):
    if name.startswith(("the_pack.", "vividface_core")):
        for value in vars(module).values():
            foreign = inspect.isclass(value) and value.__module__ == name
            if foreign and any(base.__module__.startswith("comfy") for base in value.__mro__):
                bases = [base for base in value.__mro__ if base.__module__.startswith("comfy")]
                left[f"{value.__module__}.{value.__name__}"] = {
                    "left": sorted(getattr(value, "__abstractmethods__", ())),
                    "wanted": {base.__name__: sorted(getattr(base, "__abstractmethods__", ())) for base in bases},
                    "own": sorted({key for base in value.__mro__ if base not in bases for key in vars(base)}),
                }
print("ANSWER" + json.dumps(left))
"""


def answer(script: str, *arguments: str):
    """What a script says that runs with ComfyUI's Python and folder."""
    run = subprocess.run(
        [comfy_python(), "-c", script, str(comfy_folder()), *arguments],
        capture_output=True,
        text=True,
        cwd=comfy_folder(),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return json.loads(run.stdout.split("ANSWER")[1])


def used_names() -> list[str]:
    """Full names of all that the pack takes from ComfyUI's modules."""
    found = set()
    for path in [REPOSITORY / "__init__.py", *sorted((REPOSITORY / "nodes").rglob("*.py"))]:
        tree, known = ast.parse(path.read_text()), {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    if alias.name.split(".")[0] in CORE:
                        known[alias.asname or alias.name] = alias.name
                        found.add(alias.name)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module.split(".")[0] in CORE:
                for alias in node.names:
                    known[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                    found.add(f"{node.module}.{alias.name}")
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                written = ast.unparse(node)
                for local, full in known.items():
                    if written.startswith(f"{local}.") and written.replace(".", "").isidentifier():
                        found.add(full + written.removeprefix(local))
    return sorted(found)


def test_no_core_class_is_left_half_done():
    classes = answer(ABSTRACT, str(REPOSITORY))
    assert any(name.endswith("VideoPart") for name in classes), "classes of the core are looked at"
    assert not {name: facts["left"] for name, facts in classes.items() if facts["left"]}
    for version, known in json.loads(NAMES.read_text()).items():
        for name, facts in classes.items():
            wanted = {method for base in facts["wanted"] for method in known["abstract"].get(base, ())}
            assert not wanted - set(facts["own"]), f"{name} with ComfyUI {version}"


def test_every_name_of_the_core_is_there():
    there = answer(ASK, json.dumps(used_names()))
    assert there and not [name for name, found in there.items() if not found]


def test_every_name_of_the_core_is_known_of_both_generations():
    known = json.loads(NAMES.read_text())
    assert len(known) >= 2
    for version, facts in known.items():
        assert not set(used_names()) - set(facts["names"]), f"not in {version}, or not looked up: run this file"


def main() -> None:
    """Note what this ComfyUI has of the names: run it once with and once without ``COMFY_HOME``."""
    known = json.loads(NAMES.read_text()) if NAMES.is_file() else {}
    there, classes = answer(ASK, json.dumps(used_names())), answer(ABSTRACT, str(REPOSITORY))
    known[".".join(map(str, comfy_version()))] = {
        "names": [name for name, found in there.items() if found],
        "abstract": {
            base: methods
            for facts in classes.values()
            for base, methods in sorted(facts["wanted"].items())
            if methods and base not in facts["own"]
        },
    }
    NAMES.write_text(json.dumps(known, indent=1) + "\n")
    print("missing:", [name for name, found in there.items() if not found], file=sys.stderr)


if __name__ == "__main__":
    main()
