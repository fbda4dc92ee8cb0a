"""What the help pages of the scoring nodes promise is what the engine does."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest

from tests.paths import REPOSITORY
from vividface_core.mllm import rubric
from vividface_core.mllm.folder import CSV, FOLDER, INDEX, JSON, RECORDS, SORTS
from vividface_core.mllm.judges.allowed_servers import SERVERS
from vividface_core.mllm.judges.http import LOOPBACK
from vividface_core.mllm.judges.local import MODELS
from vividface_core.mllm.judges.server_settings import FILE, KEY, ServerSettings, settings_file
from vividface_core.mllm.judges.technical import NAME
from vividface_core.mllm.rubric import RUBRIC

SNAPSHOT = json.loads((REPOSITORY / "tests" / "comfyui" / "schema.json").read_text(encoding="utf-8"))
SCORE, WHOLE = "VividFaceMLLMScore", "VividFaceScoreFolder"
LANGUAGES = ("en", "zh", "ja", "fr", "de")


def page(node: str, language: str) -> str:
    path = REPOSITORY / "web" / "docs" / (f"{node}.md" if language == "en" else f"{node}/{language}.md")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("node", [SCORE, WHOLE])
def test_no_input_can_hold_a_key_or_name_where_one_is(node):
    inputs = SNAPSHOT[node]["inputs"]
    assert not [name for name in inputs if re.search("key|token$|secret|password|env", name)]
    assert inputs["judge"]["options"][0] == inputs["judge"]["default"] == NAME, "what needs nothing is the default"


def test_both_nodes_ask_alike():
    score, whole = (SNAPSHOT[node]["inputs"] for node in (SCORE, WHOLE))
    own = {"folder", "subfolders", "sort", "name"}
    assert {name: one for name, one in whole.items() if name not in own} == {
        name: one for name, one in score.items() if name not in ("video", "image_fps")
    }
    assert whole["sort"]["options"][1:] == list(SORTS)


@pytest.mark.parametrize("language", LANGUAGES)
def test_pages_name_what_the_engine_reads(language):
    text = page(SCORE, language)
    for word in (SERVERS, KEY, FILE, "/".join(settings_file().parts[-2:]), *LOOPBACK):
        assert word in text, word
    known = {field.name for field in fields(ServerSettings)} | {"key_env"}
    (line,) = (line for line in text.splitlines() if "https://example.com" in line)
    assert set(re.findall(r"`([a-z_]+)(?: = .*?)?`", line)) <= known
    assert re.findall(r"(?<![\w.])\d\d(?=[、,])", text)[:4] == [str(d.points) for d in RUBRIC.dimensions[:4]]
    assert all(model in text for model in ("Qwen2.5-VL", "Qwen3-VL")) and len(MODELS) == 2
    assert "`write_rubric` (`vividface_core.mllm.rubric`)" in text and rubric.write_rubric


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_of_the_folder_names_its_files(language):
    text = page(WHOLE, language)
    for name in (RECORDS, CSV, JSON, INDEX, f"{FOLDER}/keep/", f"{FOLDER}/drop/"):
        assert f"`{name}" in text, name
