"""Make the embedded face weights from the pinned packages that carry them.

    python -m training.convert_face_assets [folder]

writes ``mtcnn.safetensors`` (facenet-pytorch) and ``embedding.safetensors`` (faceplugin-face-recognition-js) into
``vividface_core/assets/faces`` or the given folder. The latter needs ``pip install onnx``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from training.packages import PACKAGES, fetch
from vividface_core.errors import MissingDependency, UnsupportedCheckpoint
from vividface_core.faces.embed import WEIGHTS as EMBEDDING
from vividface_core.faces.embed import MobileFaceNet
from vividface_core.faces.mtcnn import WEIGHTS as MTCNN
from vividface_core.faces.mtcnn import Mtcnn

DETECTOR_PACKAGE = "facenet-pytorch"
EMBEDDING_PACKAGE = "faceplugin-face-recognition-js"

_HEADS = {"1": "face", "2": "box", "3": "landmarks"}


def convert_detector(folder: Path) -> dict[str, Tensor]:
    """State dict of :class:`Mtcnn` from the three files of ``facenet_pytorch/data``."""
    target = Mtcnn()
    state = {}
    for name, file in (("proposal", "pnet.pt"), ("refinement", "rnet.pt"), ("output", "onet.pt")):
        source = torch.load(folder / "facenet_pytorch" / "data" / file, weights_only=True)
        features = getattr(target, name).features
        layers = [str(i) for i, layer in enumerate(features) if any(True for _ in layer.parameters())]
        heads = {key.split(".")[0] for key in source if "_" in key.split(".")[0]}
        # The source's dictionaries are in the order of computation, weight before bias.
        plain = [key for key in source if key.split(".")[0] not in heads]
        places = [f"{layer}.{part}" for layer in layers for part, _ in features[int(layer)].named_parameters()]
        for place, key in zip(places, plain, strict=True):
            state[f"{name}.features.{place}"] = source[key]
        for key in source:
            layer, part = key.split(".")
            if layer in heads:
                state[f"{name}.{_HEADS[layer.split('_')[1]]}.{part}"] = source[key]
        _reorder_flattened(name, features, state)
    target.load_state_dict(state)
    return {key: value.contiguous() for key, value in state.items()}


def _reorder_flattened(name: str, features: nn.Sequential, state: dict[str, Tensor]) -> None:
    """The source flattens feature maps as width, height, channel; here it is channel, height, width."""
    for i, layer in enumerate(features):
        if isinstance(layer, nn.Linear):
            channels = next(part for part in reversed(features[:i]) if isinstance(part, nn.Conv2d)).out_channels
            side = round((layer.in_features / channels) ** 0.5)
            key = f"{name}.features.{i}.weight"
            weight = state[key].view(layer.out_features, side, side, channels)
            state[key] = weight.permute(0, 3, 2, 1).reshape(layer.out_features, -1)


def convert_embedding(folder: Path) -> dict[str, Tensor]:
    """State dict of :class:`MobileFaceNet` from ``package/model/fr_feature.onnx``, in half precision.

    Raises:
        MissingDependency: there is no onnx.
        UnsupportedCheckpoint: the graph isn't the one that the network was written after.
    """
    try:
        import onnx
    except ImportError as error:
        raise MissingDependency("Reading fr_feature.onnx needs onnx; run `pip install onnx`.") from error
    path = folder / "package" / "model" / "fr_feature.onnx"
    graph = onnx.load(str(path)).graph
    values = {v.name: torch.from_numpy(onnx.numpy_helper.to_array(v).copy()) for v in graph.initializer}
    nodes = [node for node in graph.node if node.op_type in ("Conv", "PRelu")]
    target = MobileFaceNet()
    layers = [(name, layer) for name, layer in target.named_modules() if isinstance(layer, nn.Conv2d | nn.PReLU)]
    if [n.op_type for n in nodes] != ["Conv" if isinstance(x, nn.Conv2d) else "PRelu" for _, x in layers]:
        raise UnsupportedCheckpoint(f"{path} holds another network than the MobileFaceNet of {EMBEDDING_PACKAGE}.")
    state = {}
    for (name, layer), node in zip(layers, nodes, strict=True):
        for (part, parameter), key in zip(layer.named_parameters(), node.input[1:], strict=True):
            state[f"{name}.{part}"] = values[key].view(parameter.shape).half().contiguous()
    target.load_state_dict(state)
    return state


def main(folder: Path | None = None) -> None:
    """Fetch, convert, write."""
    for name, path, convert in (
        (DETECTOR_PACKAGE, MTCNN, convert_detector),
        (EMBEDDING_PACKAGE, EMBEDDING, convert_embedding),
    ):
        package = PACKAGES[name]
        target = (folder or path.parent) / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        # A single entry: the writer puts several in random order, and then the bytes differ from run to run.
        metadata = {"source": f"{name} {package.version}, licence {package.licence}"}
        save_file(convert(fetch(name)), target, metadata)
        # The writer leaves the file readable by its owner only; an installed package is for everyone.
        target.chmod(0o644)
        print(f"{target}: {target.stat().st_size / 1e6:.2f} MB from {name} {package.version} ({package.licence})")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:2]))
