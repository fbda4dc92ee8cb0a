"""facexlib's networks without what facexlib depends on."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import sys
from vividface_core.faces.facexlib_modules import facexlib_module
import torch
with torch.inference_mode():
    out = facexlib_module("parsing.bisenet").BiSeNet(num_class=19).eval()(torch.zeros(1, 3, 64, 64))[0]
    assert out.shape == (1, 19, 64, 64)
    retinaface = facexlib_module("detection.retinaface").RetinaFace("mobile0.25", device="cpu").eval()
    assert retinaface(torch.zeros(1, 3, 64, 64))[2].shape[-1] == 10
assert facexlib_module("parsing.parsenet").ParseNet and facexlib_module("recognition.arcface_arch").Backbone
assert not [name for name in sys.modules if name.split(".")[0] == "facexlib"], "others still import it whole"
try:
    import facexlib
except ImportError as error:
    print("whole:", error)
"""
ABSENT = ("cv2", "numba", "filterpy", "matplotlib")


def test_the_networks_need_nothing_that_facexlib_brings(tmp_path, request):
    hidden = f"""
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {ABSENT!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
import importlib.util
find = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name in {ABSENT!r} else find(name, package)
"""
    (tmp_path / "sitecustomize.py").write_text(hidden)
    path = os.pathsep.join([str(tmp_path), str(request.config.rootpath)])
    environment = {**os.environ, "PYTHONPATH": path}
    run = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    assert "whole: No module named 'cv2'" in run.stdout, "its packages do need it"
