"""The public API: what is documented can be imported, and importing it costs nothing."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import vividface_core

SOURCE = Path(vividface_core.__file__)


def test_importing_the_package_imports_no_library():
    program = (
        "import sys; before = set(sys.modules); import vividface_core; dir(vividface_core)\n"
        "print(*sorted(set(sys.modules) - before - sys.stdlib_module_names - {'vividface_core'}))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=SOURCE.parents[1])
    assert run.returncode == 0 and run.stdout.split() == [], run.stdout + run.stderr


@pytest.mark.parametrize("name", vividface_core.__all__)
def test_each_name_is_documented_and_comes_from_where_the_type_checker_is_told(name):
    assert re.search(rf"`{name}`", vividface_core.__doc__) and name in dir(vividface_core)
    (home,) = (
        node.module
        for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}
    )
    assert getattr(vividface_core, name) is getattr(importlib.import_module(home), name)


def test_other_names_are_refused():
    with pytest.raises(AttributeError, match="no attribute 'restore'"):
        vividface_core.restore  # noqa: B018
    with pytest.raises(ImportError):
        exec("from vividface_core import nothing_of_that_name")
