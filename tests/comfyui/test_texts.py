"""The English texts are those of the schemas."""

from __future__ import annotations

import json

from tests.paths import REPOSITORY


def test_english_texts_are_the_schemas_own(comfy):
    english = json.loads((REPOSITORY / "locales" / "en" / "nodeDefs.json").read_text(encoding="utf-8"))
    for name, info in comfy.get("/object_info").items():
        if not name.startswith("VividFace"):
            continue
        node = english[name]
        assert (node["display_name"], node["description"]) == (info["display_name"], info["description"]), name
        for kind in ("required", "optional"):
            for key, (_, details) in info["input"].get(kind, {}).items():
                assert node["inputs"][key]["tooltip"] == details["tooltip"], f"{name}.{key}"
        for place, (title, tip) in enumerate(zip(info["output_name"], info["output_tooltips"])):
            assert node["outputs"][str(place)]["name"] == title, f"{name}, output {place}"
            assert tip is None or node["outputs"][str(place)]["tooltip"] == tip, f"{name}, output {place}"
