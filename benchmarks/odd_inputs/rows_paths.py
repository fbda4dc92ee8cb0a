"""What must not be overwritten, and folders that many programs share."""

from __future__ import annotations

from benchmarks.odd_inputs.material import Make, all_of, case, link, picture, pipe, raw, workflow
from benchmarks.odd_inputs.rows import Row

THREE = case("three-frames.mp4", "in.mp4")
LOST, FOLDERS = "Nothing is overwritten", "Shared folders"


def _models(*makers: Make) -> Make:
    return all_of(raw("shared/README.md", "mine"), *makers)


OVERWRITING = [
    Row(LOST, "output = input", THREE, "R in.mp4 -o in.mp4 --overwrite", 1, "the input itself"),
    Row(
        LOST,
        "output = a link to the input",
        all_of(THREE, link("out.mp4", "in.mp4")),
        "R in.mp4 -o out.mp4 --overwrite",
        1,
        "the input itself",
    ),
    Row(
        LOST,
        "output = a hard link of the input",
        all_of(THREE, link("out.mp4", "in.mp4", hard=True)),
        "R in.mp4 -o out.mp4 --overwrite",
        1,
        "the input itself",
    ),
    Row(
        LOST,
        "output = the input through a linked folder",
        all_of(raw("a/x", "x"), case("three-frames.mp4", "a/in.mp4"), link("b", "a")),
        "R a/in.mp4 -o b/in.mp4 --overwrite",
        1,
        "the input itself",
    ),
    Row(
        LOST,
        "side by side = input",
        THREE,
        "R in.mp4 -o o.mp4 --side-by-side in.mp4 --overwrite",
        1,
        "the input itself",
    ),
    Row(LOST, "side by side = output", THREE, "R in.mp4 -o o.mp4 --side-by-side o.mp4", 1, "--output too"),
    Row(LOST, "output exists", all_of(THREE, raw("o.mp4", "mine")), "R in.mp4 -o o.mp4", 1, "exists already"),
    Row(
        LOST,
        "output is a link to nothing",
        all_of(THREE, link("o.mp4", "nowhere.mp4")),
        "R in.mp4 -o o.mp4",
        1,
        "exists already",
    ),
    Row(
        LOST,
        "output is a folder of notes",
        all_of(THREE, raw("o/notes.txt", "mine")),
        "R in.mp4 -o o --preset png --overwrite",
        1,
        "no empty folder",
    ),
    Row(LOST, "output is a FIFO", all_of(THREE, pipe("o.mp4")), "R in.mp4 -o o.mp4 --overwrite", 1, "no ordinary file"),
    Row(
        LOST,
        "reference picture = output",
        all_of(THREE, picture("o.png")),
        "restore in.mp4 -o o.png --preset png --faces ref:o.png --model {model} --overwrite",
        1,
        "the reference picture itself",
    ),
    Row(
        LOST,
        "a folder onto itself",
        all_of(raw("f/n", ""), case("three-frames.mp4", "f/a.mp4")),
        "degrade f -o f --overwrite",
        1,
        "the input",
    ),
    Row(
        LOST,
        "degrade onto a hard link",
        all_of(THREE, link("o.mp4", "in.mp4", hard=True)),
        "degrade in.mp4 -o o.mp4 --overwrite",
        1,
        "the input itself",
    ),
    Row(
        LOST,
        "the sidecar of a degradation exists",
        all_of(THREE, raw("o.mp4.degradation.json", "mine")),
        "degrade in.mp4 -o o.mp4 --quiet",
        1,
        "exists already",
    ),
    Row(
        LOST,
        "a report over a clip",
        THREE,
        "metrics in.mp4 --reference in.mp4 --only psnr --json in.mp4 --overwrite",
        1,
        "a clip itself",
    ),
    Row(
        LOST,
        "a report called like a video",
        THREE,
        "metrics in.mp4 --reference in.mp4 --only psnr --html o.mp4",
        1,
        "another kind",
    ),
    Row(
        LOST,
        "scores over somebody's notes",
        all_of(THREE, raw("notes.json", '{"a": 1}')),
        "score in.mp4 --judge technical --json notes.json",
        1,
        "exists already",
    ),
    Row(
        LOST,
        "scores into a list of something else",
        all_of(THREE, raw("list.jsonl", '{"a": 1}\n')),
        "score in.mp4 --judge technical --jsonl list.jsonl",
        1,
        "holds no judged videos",
    ),
    Row(
        LOST,
        "report = workflow",
        all_of(workflow("flow.json"), case("three-frames.mp4", "c.mp4")),
        "run flow.json -i . -o done --report flow.json --overwrite",
        1,
        "the workflow itself",
    ),
    Row(
        LOST,
        "results into the folder of the videos",
        all_of(workflow("flow.json"), THREE),
        "run flow.json -i . -o .",
        1,
        "the input folder",
    ),
    Row(
        LOST,
        "convert over its own source",
        raw("dit.safetensors", "weights"),
        "models convert --dit dit.safetensors -o dit.safetensors --overwrite",
        1,
        "--dit itself",
    ),
    Row(
        LOST,
        "a folder of a benchmark that is somebody's",
        all_of(THREE, raw("results/tables.md", "mine")),
        "bench folder . -o results --only psnr --quiet",
        1,
        "of no benchmark",
    ),
]

SHARED = [
    Row(
        FOLDERS,
        "a link to nothing",
        _models(link("shared/gone.safetensors", "nowhere")),
        "models list --models-dir shared",
        0,
        "gone.safetensors is left out: it is a link to nothing",
    ),
    Row(
        FOLDERS,
        "a link to itself",
        _models(link("shared/loop", "loop"), link("shared/here", ".")),
        "models list --models-dir shared",
        0,
        "loop is left out",
    ),
    Row(FOLDERS, "a FIFO called weights", _models(pipe("shared/pipe.safetensors")), "models list --models-dir shared"),
    Row(
        FOLDERS,
        "a folder called weights",
        _models(raw("shared/x.safetensors/a", "a")),
        "models list --models-dir shared",
    ),
    Row(
        FOLDERS,
        "broken cards and empty files",
        _models(raw("shared/a/vividface.json", b"\xff\xfe{"), raw("shared/b.ckpt", ""), raw("shared/c.gguf", "GGUF")),
        "models list --models-dir shared",
    ),
    Row(
        FOLDERS,
        "weights whose name is no Unicode",
        _models(raw(b"shared/\xff\xfe.safetensors", "x")),
        "models list --models-dir shared",
    ),
    Row(
        FOLDERS,
        "a web page saved as a checkpoint",
        raw("m.safetensors", "<!DOCTYPE html><html>404</html>"),
        "models inspect m.safetensors",
        1,
        "a web page",
    ),
    Row(
        FOLDERS,
        "an LFS pointer saved as a checkpoint",
        raw("m.ckpt", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
        "models inspect m.ckpt",
        1,
        "Git LFS pointer",
    ),
    Row(
        FOLDERS,
        "an answer in JSON saved as a checkpoint",
        raw("m.gguf", '{"error": "Repository not found"}'),
        "models inspect m.gguf",
        1,
        "JSON text",
    ),
    Row(
        FOLDERS,
        "an archive saved as a checkpoint",
        raw("m.safetensors", b"7z\xbc\xaf\x27\x1c" + bytes(99)),
        "models inspect m.safetensors",
        1,
        "archive",
    ),
    Row(FOLDERS, "a checkpoint of zeros", raw("m.pth", bytes(5000)), "models inspect m.pth", 1, "blank"),
    Row(
        FOLDERS,
        "a safetensors file cut short",
        raw("m.safetensors", (9000).to_bytes(8, "little") + b'{"a": {"dtype": "F32"'),
        "models inspect m.safetensors",
        1,
        "m.safetensors",
    ),
    Row(FOLDERS, "a FIFO as a checkpoint", pipe("m.safetensors"), "models inspect m.safetensors", 1, "m.safetensors"),
    Row(
        FOLDERS,
        "a web page as the model",
        all_of(THREE, raw("m.safetensors", "<html>log in</html>")),
        "restore in.mp4 -o o.mp4 --model m.safetensors",
        1,
        "a web page",
    ),
    Row(FOLDERS, "a model that isn't there", THREE, "restore in.mp4 -o o.mp4 --model nobody", 1, "nobody"),
    Row(
        FOLDERS,
        "a folder as the model that is none",
        all_of(THREE, raw("m/notes.txt", "mine")),
        "restore in.mp4 -o o.mp4 --model m",
        1,
        "m",
    ),
]

ROWS = [*OVERWRITING, *SHARED]
