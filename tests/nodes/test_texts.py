"""Locales and help pages: whole in every language, true to the nodes' ids."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.paths import REPOSITORY
from vividface_core.degrade import preset_names
from vividface_core.metrics.registry import METRICS

SNAPSHOT: dict[str, Any] = json.loads((REPOSITORY / "tests" / "comfyui" / "schema.json").read_text(encoding="utf-8"))
PAGES = REPOSITORY / "web" / "docs"
LANGUAGES = ("en", "zh", "zh-TW", "ja", "ko", "fr", "es", "de")
OTHERS = LANGUAGES[1:]
FILES = ("main.json", "nodeDefs.json")
SHORT = 16
"""Up to so many characters a text may be the same in two languages, as "video" is."""
ENGLISH_LINES = range(40, 220)
LONGEST_CODE = 27
"""Characters in one piece that code may have in a list: the page shows help in a narrow panel beside the graph."""


def locale(language: str, file: str) -> dict[str, Any]:
    return json.loads((REPOSITORY / "locales" / language / file).read_text(encoding="utf-8"))


def page(node: str, language: str) -> Path:
    return PAGES / f"{node}.md" if language == "en" else PAGES / node / f"{language}.md"


WIDGETS = {
    "vividface": "compare_player.js",
    "vividfacePreview": "preview_button.js",
    "vividfacePeople": "people.js",
}
"""Sections of the page's texts, and the files that have them in English."""


def widget_texts(file: str) -> dict[str, str]:
    """A widget's own English, which the locales replace."""
    source = (REPOSITORY / "web" / file).read_text(encoding="utf-8")
    block = re.search(r"^const ENGLISH = \{\n(.*?)^\}", source, re.MULTILINE | re.DOTALL)[1]
    return {key: text for key, _, text in re.findall(r"""^  (\w+): (['"])(.*)\2,?$""", block, re.MULTILINE)}


def leaves(tree: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    """Every text with its place."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{path}/{key}")
        else:
            yield f"{path}/{key}", value


def first_words(text: str) -> list[str]:
    """What stands in backticks at the beginning of a list's entries of several lines."""
    return re.findall(r"^- `([^`]+)`.*\\$", text, re.MULTILINE)


def sections(text: str) -> list[str]:
    """A page's parts, each beginning with its heading."""
    return re.split(r"^(?=## )", text, flags=re.MULTILINE)[1:]


every_language = pytest.mark.parametrize("language", LANGUAGES)
every_other = pytest.mark.parametrize("language", OTHERS)
every_node = pytest.mark.parametrize("node", SNAPSHOT)


def test_there_are_no_other_languages_and_files():
    folder = REPOSITORY / "locales"
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert found == {f"{language}/{file}" for language in LANGUAGES for file in FILES}


@every_language
@pytest.mark.parametrize("file", FILES)
def test_files_are_utf8_with_two_spaces(language, file):
    text = (REPOSITORY / "locales" / language / file).read_bytes().decode("utf-8")
    assert text == json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


@every_language
def test_nodes_inputs_and_outputs_are_those_of_the_snapshot(language):
    texts = locale(language, "nodeDefs.json")
    assert set(texts) == set(SNAPSHOT)
    for node, wanted in SNAPSHOT.items():
        found = texts[node]
        assert set(found) == {"display_name", "description", "inputs", "outputs"}, node
        assert list(found["inputs"]) == list(wanted["inputs"]), node
        assert list(found["outputs"]) == [str(number) for number in range(len(wanted["outputs"]))], node
        for kind in ("inputs", "outputs"):
            for key, entry in found[kind].items():
                assert set(entry) == {"name", "tooltip"}, f"{node}.{key}"


def test_english_outputs_have_the_names_of_the_snapshot():
    texts = locale("en", "nodeDefs.json")
    for node, wanted in SNAPSHOT.items():
        assert [entry["name"] for entry in texts[node]["outputs"].values()] == list(wanted["outputs"]), node


@every_language
def test_main_has_the_category_the_widgets_and_what_graphs_show(language):
    texts, english = locale(language, "main.json"), locale("en", "main.json")
    assert list(texts) == ["nodeCategories", *WIDGETS, "vividfaceChoices", "vividfaceTemplates"]
    assert texts["nodeCategories"] == {"VividFace": "VividFace"}
    assert all(list(texts[section]) == list(english[section]) for section in texts)


@pytest.mark.parametrize("section", WIDGETS)
def test_english_is_the_widgets_own(section):
    assert locale("en", "main.json")[section] == widget_texts(WIDGETS[section])


def test_choices_are_values_that_the_nodes_have():
    choices = locale("en", "main.json")["vividfaceChoices"]
    assert all(value == word for value, word in choices.items())
    options = {
        option for node in SNAPSHOT.values() for entry in node["inputs"].values() for option in entry.get("options", [])
    }
    # "paper" stands in a list that also has files.
    assert set(choices) - options == {"paper"}


def test_templates_texts_are_those_of_the_shipped_graphs():
    shown: set[str] = set()
    for path in (REPOSITORY / "example_workflows").glob("*.json"):
        graph = json.loads(path.read_text(encoding="utf-8"))
        shown |= {group["title"] for group in graph["groups"]} | {node.get("title", "") for node in graph["nodes"]}
        shown |= {node["widgets_values"][0] for node in graph["nodes"] if node["type"] == "MarkdownNote"}
    assert shown - {""} == set(locale("en", "main.json")["vividfaceTemplates"].values())


@every_language
@pytest.mark.parametrize("file", FILES)
def test_no_text_is_empty_or_confuses_the_frontend(language, file):
    for place, text in leaves(locale(language, file)):
        assert isinstance(text, str) and text == text.strip() != "", place
        # ComfyUI's page reads these as links, placeholders and plurals.
        assert not set("@{}|") & set(text), f"{place}: {text}"


@every_other
@pytest.mark.parametrize("file", FILES)
def test_texts_are_translated(language, file):
    english, other = dict(leaves(locale("en", file))), dict(leaves(locale(language, file)))
    assert list(other) == list(english)
    alike = [place for place, text in other.items() if text == english[place] and len(text) > SHORT]
    assert not alike


@every_language
def test_names_of_nodes_and_of_inputs_of_a_node_differ(language):
    texts = locale(language, "nodeDefs.json")
    names = [node["display_name"] for node in texts.values()]
    assert len(set(names)) == len(names)
    for node, entry in texts.items():
        labels = [one["name"] for one in entry["inputs"].values()]
        assert len(set(labels)) == len(labels), node


def test_there_are_pages_of_the_nodes_only():
    found = {path.relative_to(PAGES).as_posix() for path in PAGES.rglob("*") if path.is_file()}
    wanted = {page(node, language).relative_to(PAGES).as_posix() for node in SNAPSHOT for language in LANGUAGES}
    assert found == wanted


@every_language
@every_node
def test_pages_name_their_node_and_all_its_inputs_and_outputs(node, language):
    text, texts = page(node, language).read_text(encoding="utf-8"), locale(language, "nodeDefs.json")[node]
    assert text.startswith(f"# {texts['display_name']}\n\n")
    inputs, outputs = (first_words(section) for section in sections(text)[1:3])
    assert inputs == list(SNAPSHOT[node]["inputs"])
    assert outputs == list(SNAPSHOT[node]["outputs"])
    for kind in ("inputs", "outputs"):
        for entry in texts[kind].values():
            assert re.search(
                rf"^- `.+` \*\*{re.escape(entry['name'])}\*\*\\\n  {re.escape(entry['tooltip'])}\\?$", text, re.M
            )


@every_other
@every_node
def test_translated_pages_say_as_much_as_the_english_one(node, language):
    english, other = (page(node, one).read_text(encoding="utf-8") for one in ("en", language))
    assert first_words(other) == first_words(english)
    assert len(sections(other)) == len(sections(english))
    names = re.compile(r"- `.*\\$")
    prose = [line for line in english.splitlines() if len(line) > SHORT and not names.match(line)]
    assert not set(prose) & set(other.splitlines())


@every_language
def test_pages_list_every_metric_with_its_direction_and_every_preset(language):
    text = page("VividFaceMetrics", language).read_text(encoding="utf-8")
    rows = re.findall(r"^- `([^`]+)` ([↑↓]) ·", text, re.MULTILINE)
    assert rows == [(metric.name, metric.arrow) for metric in METRICS.values()]
    for node in ("VividFaceDegradeSynth", "VividFaceDegradeSynthImages"):
        presets = first_words(sections(page(node, language).read_text(encoding="utf-8"))[4])
        assert presets == preset_names()


@every_language
def test_metrics_are_starred_where_they_are_only_measured_if_named(language):
    tip = locale(language, "nodeDefs.json")["VividFaceMetrics"]["inputs"]["metrics"]["tooltip"]
    for metric in METRICS.values():
        assert re.search(rf"(?<![\w-]){metric.name}{'' if metric.default else '[*]'}(?![\w*-])", tip), metric.name


@every_node
def test_english_pages_are_neither_scant_nor_long(node):
    assert len(page(node, "en").read_text(encoding="utf-8").splitlines()) in ENGLISH_LINES


@every_language
@every_node
def test_pages_fit_into_a_side_panel_and_links_lead_somewhere(node, language):
    path = page(node, language)
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"^\|", text, re.MULTILINE), "a table is too wide there: write a list"
    pieces = [piece for code in re.findall(r"`([^`\n]+)`", text) for piece in re.split(r"[\s-]", code)]
    assert [piece for piece in pieces if len(piece) > LONGEST_CODE] == []
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target.startswith("https://") or (path.parent / target.partition("#")[0]).is_file(), target
