"""Download VividFace Model."""

from __future__ import annotations

from comfy_api.latest import io, ui

from vividface_core.weights import TABLE, download

from .bridge.paths import model_folders
from .bridge.progress import ShareBar
from .bridge.schema import schema


def _offered() -> list[str]:
    return [name for name, entry in TABLE.items() if entry.files]


class DownloadModel(io.ComfyNode):
    """Fetches a known checkpoint, because a person asked for it."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        known = "; ".join(f"{name}: {TABLE[name].summary}, licence {TABLE[name].licence}" for name in _offered())
        return schema(
            node_id="VividFaceDownloadModel",
            display_name="Download VividFace Model",
            description="Fetches a checkpoint from the Hub into models/vividface. Files that are there already are "
            f"kept, an interrupted download goes on, and each file whose SHA-256 is known is checked. {known}.",
            search_aliases=["vividface download", "fetch model"],
            inputs=[io.Combo.Input("model", options=_offered(), tooltip="Which checkpoint to fetch.")],
            outputs=[io.String.Output("path", display_name="path", tooltip="The folder it was put into.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        path = download(model, model_folders()[0], ShareBar(cls.hidden.unique_id))
        return io.NodeOutput(str(path), ui=ui.PreviewText(f"{model} is in {path}"))
