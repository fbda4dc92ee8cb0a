"""Make the embedded face weights from the pinned packages that carry them.

    python -m training.assets.convert_face_assets [folder]

writes ``mtcnn.safetensors`` (facenet-pytorch), ``embedding.safetensors`` (faceplugin-face-recognition-js),
``blazeface.safetensors`` and ``mesh.safetensors`` (mediapipe) into ``vividface_core/assets/faces`` or the given folder.
The second needs ``pip install onnx``, the last two ``pip install tflite``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from training.assets.fetch import fetch
from training.assets.packages import PACKAGES
from vividface_core.errors import MissingDependency, UnsupportedCheckpoint
from vividface_core.faces.blazeface import WEIGHTS as BLAZEFACE
from vividface_core.faces.blazeface import BlazeFace
from vividface_core.faces.embed import WEIGHTS as EMBEDDING
from vividface_core.faces.embed import MobileFaceNet
from vividface_core.faces.face_mesh import MARGIN, FaceMesh, Region
from vividface_core.faces.face_mesh import WEIGHTS as MESH
from vividface_core.faces.mtcnn import WEIGHTS as MTCNN
from vividface_core.faces.mtcnn import Mtcnn

DETECTOR_PACKAGE = "facenet-pytorch"
EMBEDDING_PACKAGE = "faceplugin-face-recognition-js"
MESH_PACKAGE = "mediapipe"

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
            channels = next(part for part in reversed(list(features)[:i]) if isinstance(part, nn.Conv2d)).out_channels
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


def convert_blazeface(folder: Path) -> dict[str, Tensor]:
    """State dict of :class:`BlazeFace` from ``face_detection_short_range.tflite``, in half precision as there.

    Raises:
        MissingDependency: there is no tflite.
        UnsupportedCheckpoint: the graph isn't the one that the network was written after.
    """
    path = folder / "mediapipe" / "modules" / "face_detection" / "face_detection_short_range.tflite"
    net = BlazeFace()
    ways: Ways = {
        ("classificators", 0): (net.fine, net.fine_score),
        ("classificators", 1): (net.fine, net.coarse, net.coarse_score),
        ("regressors", 0): (net.fine, net.fine_place),
        ("regressors", 1): (net.fine, net.coarse, net.coarse_place),
    }
    return _state(net, _TfliteGraph(path), ways, path)


def convert_mesh(folder: Path) -> dict[str, Tensor]:
    """State dict of :class:`FaceMesh` from ``face_landmark_with_attention.tflite``, in half precision as there.

    Raises:
        MissingDependency: there is no tflite.
        UnsupportedCheckpoint: the graph isn't the one that the network was written after.
    """
    path = folder / "mediapipe" / "modules" / "face_landmark" / "face_landmark_with_attention.tflite"
    graph, net = _TfliteGraph(path), FaceMesh()
    eyes = {side: getattr(net, f"{side}_eye") for side in ("left", "right")}
    ways: Ways = {
        ("output_mesh_identity", 0): (net.stem, net.trunk, net.mesh),
        ("conv_faceflag", 0): (net.stem, net.trunk, net.presence),
        ("output_lips", 0): (net.stem, net.lips.features, net.lips.contour),
        **{(f"output_{side}_eye", 0): (net.stem, eye.features, eye.contour) for side, eye in eyes.items()},
        **{(f"output_{side}_iris", 0): (net.stem, eye.features, eye.iris) for side, eye in eyes.items()},
    }
    regions = [_region(net.lips), _region(net.left_eye), _region(net.right_eye)]
    if (found := graph.options("Landmarks2TransformMatrix")) != regions:
        raise UnsupportedCheckpoint(f"{path} looks at other regions than {MESH_PACKAGE}'s: {found}.")
    return _state(net, graph, ways, path)


Ways = dict[tuple[str, int], tuple[nn.Module, ...]]
"""Through which parts of a network each output of a graph is computed."""


def _state(net: nn.Module, graph: _TfliteGraph, ways: Ways, path: Path) -> dict[str, Tensor]:
    """Parameters of ``net``; ``ways`` says through which of its parts each output is computed (of an output that is
    joined from several, each by its number)."""
    names, state = {module: name for name, module in net.named_modules()}, {}
    for (output, number), parts in ways.items():
        layers = [x for part in parts for x in part.modules() if isinstance(x, nn.Conv2d | nn.PReLU)]
        sources = list(graph.layers_before(output, number))
        if [_kind(layer) for layer in layers] != [kind for kind, _ in sources]:
            raise UnsupportedCheckpoint(f"{path} computes {output} otherwise than the network of {MESH_PACKAGE}.")
        for layer, (_, values) in zip(layers, sources, strict=True):
            for (part, parameter), value in zip(layer.named_parameters(), values, strict=True):
                if value.ndim == 4:
                    # Channels last; of the two kinds of convolution, the separate one has them in the outputs' place.
                    value = value.permute((0, 3, 1, 2) if layer.groups == 1 else (3, 0, 1, 2))
                state[f"{names[layer]}.{part}"] = value.reshape(parameter.shape).half().contiguous()
    net.load_state_dict(state)
    return state


def _region(region: Region) -> dict[str, Any]:
    return {
        "left_rotation_idx": region.line[0],
        "right_rotation_idx": region.line[1],
        "subset_idxs": region.points,
        "output_height": region.side,
        "output_width": region.side,
        "scale_x": MARGIN,
        "scale_y": MARGIN,
        "target_rotation_radians": 0.0,
    }


def _kind(layer: nn.Module) -> str:
    if isinstance(layer, nn.PReLU):
        return "PRELU"
    return "CONV_2D" if layer.groups == 1 else "DEPTHWISE_CONV_2D"


class _TfliteGraph:
    """What computes what in a model file of TensorFlow Lite.

    Raises:
        MissingDependency: there is no tflite.
    """

    def __init__(self, path: Path) -> None:
        try:
            import tflite
        except ImportError as error:
            raise MissingDependency(f"Reading {path.name} needs tflite; run `pip install tflite`.") from error
        self._model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
        self._graph = self._model.Subgraphs(0)
        self._operators = [self._graph.Operators(i) for i in range(self._graph.OperatorsLength())]
        self._makers = {int(out): op for op in self._operators for out in op.OutputsAsNumpy()}
        self._names = {v: k for k, v in vars(tflite.BuiltinOperator).items() if isinstance(v, int)}

    def layers_before(self, name: str, number: int = 0) -> Iterator[tuple[str, list[Tensor]]]:
        """Kind and parameters of the layers that lead to a named output, in the order of computation; where it is
        joined from several parts, to the part of that number."""
        outputs = {self._graph.Tensors(int(i)).Name().decode(): int(i) for i in self._graph.OutputsAsNumpy()}
        found, at = [], outputs[name]
        while (operator := self._makers.get(at)) is not None:
            inputs, kind = operator.InputsAsNumpy().tolist(), self._kind(operator)
            if kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "PRELU"):
                found.append((kind, [self._values(i) for i in inputs[1:]]))
            # Of a sum's two ways the layers lie on the one that ends in a convolution.
            way = next((i for i in inputs if kind == "ADD" and self._kind(self._makers[i]) == "CONV_2D"), inputs[0])
            at = inputs[number] if kind == "CONCATENATION" else way
        return reversed(found)

    def options(self, name: str) -> list[dict[str, Any]]:
        """Options of all operators of a custom kind."""
        from flatbuffers import flexbuffers

        mine = [operator for operator in self._operators if self._kind(operator) == name]
        return [flexbuffers.Loads(bytes(operator.CustomOptionsAsNumpy())) for operator in mine]

    def _kind(self, operator: Any) -> str:
        code = self._model.OperatorCodes(operator.OpcodeIndex())
        kind = self._names[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        return code.CustomCode().decode() if kind == "CUSTOM" else kind

    def _values(self, index: int) -> Tensor:
        """A constant; they are stored in half precision and widened by an operator of their own."""
        tensor = self._graph.Tensors(self._makers[index].Inputs(0))
        data = self._model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        return torch.frombuffer(bytearray(data), dtype=torch.float16).view(*tensor.ShapeAsNumpy().tolist())


def main(folder: Path | None = None) -> None:
    """Fetch, convert, write."""
    for name, path, convert in (
        (DETECTOR_PACKAGE, MTCNN, convert_detector),
        (EMBEDDING_PACKAGE, EMBEDDING, convert_embedding),
        (MESH_PACKAGE, BLAZEFACE, convert_blazeface),
        (MESH_PACKAGE, MESH, convert_mesh),
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
