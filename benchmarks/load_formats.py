"""What loading the 1.3B denoiser takes, by format: ``python -m benchmarks.load_formats [--layers N] [--json FILE]``.

Random weights of the true configuration are written in each format and loaded to bf16, each load in a process of its
own. Peak is what is resident above a process that has loaded a small file of the kind, so it counts the weights, what
loading needs besides, and those pages of the mapped file that are resident at the same time. Linux only. While the
fp32 file is written, 8 bytes a weight are needed on disk.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

LIMIT = 1.15
"""Peak over the weights' own size."""


def status(key: str) -> int:
    """Bytes of one line of Linux' account of this process."""
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))


def measure(path: Path, compact: bool, small: Path) -> dict[str, float]:
    """Load in this process, after the imports and their first steps: bytes, seconds."""
    from vividface_core.wan.loading import load_transformer

    torch.set_num_threads(1)
    load_transformer(small, dtype=torch.bfloat16)
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    began = time.perf_counter()
    model = load_transformer(path, dtype=torch.bfloat16, compact=compact)
    seconds = time.perf_counter() - began
    peak = status("VmHWM") - before
    return {"seconds": seconds, "peak": peak, "weights": sum(p.nbytes for p in model.parameters())}


def write_pickle(path: Path, state: Mapping[str, Tensor]) -> None:
    """As a trainer writes it: fp32, behind a prefix, in a wrapper."""
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        wide = {}
        for number, (name, value) in enumerate(state.items()):
            # In files, not in memory: the machine that loads the model need not hold it twice as wide.
            mapped = torch.from_file(f"{scratch}/{number}", shared=True, size=value.numel(), dtype=torch.float32)
            wide[f"model.{name}"] = mapped.view(value.shape).copy_(value)
        torch.save({"epoch": 1, "state_dict": wide}, path)


def write_safetensors(path: Path, state: Mapping[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(dict(state), path)


def write_fp8(path: Path, state: Mapping[str, Tensor]) -> None:
    from vividface_core.restorers.one_step_convert import convert_denoiser

    write_safetensors(path.with_name("wide.safetensors"), state)
    convert_denoiser(path.with_name("wide.safetensors"), path, torch.float8_e4m3fn)
    path.with_name("wide.safetensors").unlink()


def write_gguf(path: Path, state: Mapping[str, Tensor]) -> None:
    """Matrices in Q8_0, the rest in F32."""
    import gguf

    writer = gguf.GGUFWriter(path, "wan", use_temp_file=True)
    for name, value in state.items():
        kind = gguf.GGMLQuantizationType["Q8_0" if value.ndim == 2 else "F32"]
        writer.add_tensor(name, gguf.quants.quantize(value.float().numpy(), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


FORMATS: dict[str, tuple[str, Callable[[Path, Mapping[str, Tensor]], None], tuple[bool, ...]]] = {
    "PyTorch, fp32": ("vividface.ckpt", write_pickle, (False,)),
    "safetensors, bf16": ("wan.safetensors", write_safetensors, (False,)),
    "safetensors, fp8-scaled": ("fp8.safetensors", write_fp8, (False, True)),
    "GGUF, Q8_0": ("wan.gguf", write_gguf, (False, True)),
}
"""By name: a file's name, what writes it, and whether it is loaded dense and compact."""


def rows(folder: Path, layers: int) -> Iterator[dict[str, float | str | bool]]:
    """One measurement after the other; files are gone after use."""
    from tests.full_size import true_transformer
    from tests.tiny import wan_layout
    from vividface_core.wan.state_dict import to_original_transformer_keys

    small = to_original_transformer_keys(wan_layout(plain=True).transformer.state_dict())
    state = to_original_transformer_keys(true_transformer(torch.bfloat16, layers).state_dict())
    for name, (file, write, ways) in FORMATS.items():
        (folder / "small").mkdir(exist_ok=True)
        write(folder / "small" / file, small)
        write(folder / file, state)
        for compact in ways:
            command = [
                sys.executable,
                "-m",
                "benchmarks.load_formats",
                "--one",
                str(folder / file),
                str(folder / "small" / file),
                *["--compact"] * compact,
            ]
            run = subprocess.run(command, capture_output=True, text=True, check=True)
            yield {"format": name, "compact": compact, "file": (folder / file).stat().st_size, **json.loads(run.stdout)}
        (folder / file).unlink()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=30)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", type=Path, nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--compact", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(json.dumps(measure(args.one[0], args.compact, args.one[1])))
        return 0
    found = []
    print(f"{'format':<26} {'kept':<8} {'file':>9} {'weights':>9} {'peak':>9} {'ratio':>6} {'load':>7}")
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        for row in rows(Path(folder), args.layers):
            found.append(row)
            sizes = (f"{row[key] / 2**20:>5.0f} MiB" for key in ("file", "weights", "peak"))
            print(
                f"{row['format']:<26} {'compact' if row['compact'] else 'dense':<8} {' '.join(sizes)} "
                f"{row['peak'] / row['weights']:>6.3f} {row['seconds']:>5.1f} s",
                flush=True,
            )
    if args.json:
        args.json.write_text(json.dumps(found, indent=2) + "\n")
    return int(any(row["peak"] > LIMIT * row["weights"] for row in found))


if __name__ == "__main__":
    sys.exit(main())
