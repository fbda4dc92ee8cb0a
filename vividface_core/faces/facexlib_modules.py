"""Modules of facexlib by themselves.

facexlib asks for OpenCV, numba and, through filterpy, matplotlib; its packages import OpenCV at once. Its networks need
none of them, so they are imported without their packages: facexlib may be installed without what it depends on.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from functools import cache
from pathlib import Path
from types import ModuleType

NAME = "facexlib"
_lock = threading.Lock()


@cache
def facexlib_module(name: str) -> ModuleType:
    """``facexlib.<name>`` without the packages above it; as it is where another program has imported facexlib.

    Raises:
        ImportError: facexlib isn't installed, or is broken.
    """
    full = f"{NAME}.{name}"
    spec = None if NAME in sys.modules else importlib.util.find_spec(NAME)
    if spec is None or not spec.submodule_search_locations:
        return importlib.import_module(full)
    with _lock:
        before, without = set(sys.modules), False
        try:
            places = [Path(place) for place in spec.submodule_search_locations]
            _stand_in(NAME, places)
            without = "cv2" not in sys.modules and importlib.util.find_spec("cv2") is None
            if without:
                _stand_in("cv2", [])  # for what stands beside the networks and isn't called
            parts = name.split(".")[:-1]
            for depth in range(1, len(parts) + 1):
                _stand_in(".".join([NAME, *parts[:depth]]), [place.joinpath(*parts[:depth]) for place in places])
            return importlib.import_module(full)
        finally:
            # Whoever imports facexlib later gets its packages whole.
            names = (NAME, "cv2") if without else (NAME,)
            for key in [key for key in sys.modules if key not in before and key.split(".")[0] in names]:
                del sys.modules[key]


def _stand_in(name: str, places: list[Path]) -> None:
    package = ModuleType(name)
    package.__path__ = [str(place) for place in places]
    sys.modules[name] = package
