"""Note where faces are in the prepared material: ``python -m training.find_faces data/nano`` writes ``faces.json``.

For each clip the face crops (centre x, centre y, side; pixels) of its middle frame, framed as the pipeline frames
them. Crops narrower than ``--smallest`` pixels are left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from training.nano_data import ClipSource
from vividface_core.faces.crop import square_crop
from vividface_core.faces.detect import load_detector


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--smallest", type=float, default=100)
    args = parser.parse_args()
    source, detector, faces = ClipSource(args.data), load_detector("mtcnn"), {}
    for number, key in enumerate(source.keys):
        clip = source.clip(key)
        frame = clip[len(clip) // 2].permute(2, 0, 1)[None].float() / 255
        found = [face for face in detector.detect(frame)[0] if face.score > 0.95]
        if found:
            crops = square_crop(np.stack([f.box for f in found]), np.stack([f.landmarks for f in found]))
            kept = [[round(float(v), 1) for v in crop] for crop in crops if crop[2] >= args.smallest]
            if kept:
                faces[key] = kept
        print(f"\r{number + 1} of {len(source.keys)} clips, {len(faces)} with a face", end="", flush=True)
    (args.data / "faces.json").write_text(json.dumps(faces))
    print()


if __name__ == "__main__":
    main()
