"""Make torchvision importable beside a CPU-only torch.

The registry's torchvision is linked with CUDA. Beside a CPU build of torch its compiled operators can't load, and
``import torchvision`` then fails at their missing schemas, and with it facexlib, transformers and diffusers. Run with
the environment's own Python, this script checks for exactly that and, only then, leaves a start-up hook in the
environment that declares the two schemas just before torchvision is imported. A matching pair is left alone.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

HOOK = '''"""Declares what torchvision's binary can't here; see tests/environment/cpu_torchvision.py."""
import importlib.abc
import sys


class _BeforeTorchvision(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == "torchvision":
            sys.meta_path.remove(self)
            import torch

            self.library = _BeforeTorchvision.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(operator + "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


sys.meta_path.insert(0, _BeforeTorchvision())
'''


def import_error() -> str:
    """Why ``import torchvision`` fails in a fresh process; empty if it doesn't."""
    run = subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True, text=True)
    return run.stderr if run.returncode else ""


def main() -> None:
    if "operator torchvision::nms does not exist" not in import_error():
        return
    packages = Path(sysconfig.get_path("purelib"))
    (packages / "_cpu_torchvision.py").write_text(HOOK)
    (packages / "_cpu_torchvision.pth").write_text("import _cpu_torchvision\n")
    error = import_error()
    if error:
        sys.exit(f"torchvision still can't be imported:\n{error}")
    print("torchvision: operator schemas declared for the CPU-only torch")


if __name__ == "__main__":
    main()
