"""`./mmh images` and `audit`: equal bytes, whole folders, sentences and status 2."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmh_core.report.image_files import read_image_metadata, settings_of
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.pixels import to_uint8
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load
from tests.commands import files_of, status
from tests.text_to_image.pipelines import write_pipeline

PROMPT = "the cat & <b>the dog</b>"
FILES = [
    "000-seed-3.png",
    "001-seed-5.png",
    "images.csv",
    "report.html",
    "run.json",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a random model whose images have 32 x 32 pixels."""
    return write_pipeline(tmp_path_factory.mktemp("models") / "tiny", "tiny", size=4)


@pytest.fixture(scope="module")
def drawn(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of one run."""
    out = tmp_path_factory.mktemp("drawn") / "run"
    assert status(*asked(model), "--out", out) == 0
    return out


def asked(model: Path) -> list[object]:
    small = ["--steps", "3", "--guidance", "2", "--device", "cpu"]
    return ["images", "--model", model, "--prompt", PROMPT, "--seeds", "3,5", *small]


def figures(folder: Path) -> Any:
    return json.loads((folder / "run.json").read_text(), parse_constant=pytest.fail)


def test_two_runs_with_equal_arguments_give_equal_bytes(
    model: Path, drawn: Path, tmp_path: Path
) -> None:
    assert status(*asked(model), "--out", tmp_path / "elsewhere") == 0
    first, second = files_of(drawn), files_of(tmp_path / "elsewhere")
    assert list(first) == FILES
    assert first == second
    assert (
        status(*asked(model), "--seeds", "4,5", "--no-curve", "--out", tmp_path / "elsewhere") == 0
    )
    other = files_of(tmp_path / "elsewhere")
    assert list(other) == ["000-seed-4.png", *FILES[1:]]
    assert other["run.json"] != first["run.json"]


def test_the_images_are_what_the_model_draws_and_say_how(model: Path, drawn: Path) -> None:
    loaded = load(model)
    expected = to_uint8(generate_images(loaded, Request(PROMPT, (3, 5), Sampling(3, 2.0, 32, 32))))
    for name, seed, pixels in zip(FILES[:2], (3, 5), expected, strict=True):
        with Image.open(drawn / name) as image:
            assert np.array_equal(np.array(image), pixels)
        about = read_image_metadata((drawn / name).read_bytes())
        assert about is not None
        settings = settings_of(about)
        assert (settings.prompts, settings.seeds) == ((PROMPT,), (seed,))
        assert (settings.sampling.steps, settings.sampling.guidance, settings.sampling.height) == (
            3,
            2.0,
            32,
        )
        assert (about.model, about.sha256) == (model.name, loaded.sha256)
    found = figures(drawn)
    assert [one["seed"] for one in found["images"]] == [3, 5]
    assert found["model_sha256"] == loaded.sha256
    assert all(len(one["curve"]) == len(found["log_deltas"]) > 2 for one in found["images"])
    assert {one["verdict"] for one in found["images"]} == {"cannot be judged"}


def test_the_command_that_a_run_names_draws_it_again(
    model: Path, drawn: Path, tmp_path: Path
) -> None:
    words = shlex.split(figures(drawn)["command"])
    assert words[:2] == ["./mmh", "images"] and words[-2] == "--out"
    assert status(*words[1:-1], tmp_path / "again") == 0
    assert files_of(tmp_path / "again") == files_of(drawn)


def test_the_table_names_every_image(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert status(*asked(model), "--no-curve", "--estimators", "dsm", "--out", out) == 0
    lines = capsys.readouterr().out.splitlines()
    found = figures(out)
    assert re.split(r"  +", lines[0]) == [
        "image",
        "seed",
        "LID +- standard error",
        "probes",
        "LID percentile",
        "nearest training image",
        "similarity",
        "verdict",
    ]
    for line, one in zip(lines[1:3], found["images"], strict=True):
        assert line.split()[:3] == [
            f"{one['image']:03d}",
            str(one["seed"]),
            f"{one['lids'][0]['conditional']:.1f}",
        ]
        # "12.3 +- 1.2", then the number of probes.
        assert int(line.split()[5]) == one["lids"][0]["probes"] == 8
        assert one["lids"][0]["unconditional_probes"] == 1
        assert line.endswith("cannot be judged")
        assert one["curve"] == [] and [lid["estimator"] for lid in one["lids"]][1:] == ["dsm"]
    assert str(out) in lines[-1]


def test_an_index_is_searched(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("index", drawn, "--out", tmp_path / "index") == 0
    options = ["--no-curve", "--index", tmp_path / "index", "--index-images", drawn]
    assert status(*asked(model), *options, "--out", tmp_path / "run") == 0
    found = figures(tmp_path / "run")
    assert found["searched"] == 2
    for number, one in enumerate(found["images"]):
        assert one["neighbors"][0]["id"] == one["copy"]["nearest"] == number
        assert one["copy"]["similarity"] == pytest.approx(1, abs=1e-6)
        # An id alone says nothing to those who have the files.
        assert one["copy"]["file"] == one["neighbors"][0]["file"] == FILES[number]
        assert f"training image {number} ({FILES[number]})" in one["reason"]
    table = (tmp_path / "run" / "images.csv").read_text()
    assert all(name in table for name in FILES[:2])
    assert f"0 ({FILES[0]})" in capsys.readouterr().out
    report = (tmp_path / "run" / "report.html").read_text()
    assert report.count(FILES[1]) >= 3
    assert shlex.join(["--index", str(tmp_path / "index")]) in found["command"]
    assert status(*asked(model), *options[:-2], "--out", tmp_path / "no") == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--prompt", ""], "prompt is empty"),
        (["--prompt", " \n"], "prompt is empty"),
        (["--prompt", "a" * 15_000], "too long (15,000 characters): shorten it to 10,000"),
        (["--negative", "a" * 15_000], "negative prompt is too long"),
        (["--windows", "0"], "0 context windows: choose from 1"),
        (["--windows", "-1"], "-1 context windows: choose from 1"),
        (["--windows", "1000"], "1000 context windows"),
        (["--prompt", "a\x07b"], "control character"),
        (["--seeds", "1,x"], "whole numbers"),
        (["--seeds", ""], "whole numbers"),
        (["--seeds", "1,1"], "given twice"),
        (["--seeds", "-1"], "seeds are"),
        (["--seeds", ",".join(map(str, range(300)))], "300 images are more than one run"),
        (["--steps", "0"], "0 steps"),
        (["--steps", "2000000"], "steps"),
        (["--guidance", "nan"], "guidance"),
        (["--guidance", "inf"], "guidance"),
        (["--height", "33"], "multiples of 8"),
        (
            ["--width", "1000000"],
            "The width is 1,000,000 pixels: choose multiples of 8 up to 2,048",
        ),
        (["--height", "100000"], "The height is 100,000 pixels"),
        (["--width", "2048", "--height", "2048", "--seeds", "1,2,3"], "2048 are more than"),
        (["--scheduler", "magic"], "choose from ddim, euler, dpm++ 2m, pndm."),
        (["--estimators", "flipd,magic"], "soft_spectral_count"),
        (["--device", "tpu"], "cpu, cuda or auto"),
        (["--model", "no-such-model"], "pocket-sd"),
        (["--model", "sd-9"], "does not exist"),
        (["--index", "nowhere"], "--index-images"),
        (["--index-images", "nowhere"], "--index"),
        (["--index", "nowhere", "--index-images", "."], "There is no index nowhere"),
        (["--index", ".", "--index-images", "nowhere"], "There is no folder nowhere"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_writes_nothing(
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    words = asked(model)
    if options[0] == "--prompt":
        words[words.index("--prompt") + 1] = options[1]
        options = []
    assert status(*words, *options, "--out", tmp_path / "run") == 2
    told = capsys.readouterr()
    assert told.out == "" and "Traceback" not in told.err
    last = told.err.strip().splitlines()[-1]
    assert last.startswith("Error: ") and said in last
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_is_taken_is_refused_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("mine")
    for place, said in (("file", "is a file"), ("folder", "other things")):
        # The model does not exist, and nobody gets so far as to notice.
        words = ["images", "--model", "nothing", "--prompt", "a", "--out", tmp_path / place]
        assert status(*words) == 2
        told = capsys.readouterr().err
        assert said in told and told.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["notes.txt"]


def audited(*words: object, capsys: pytest.CaptureFixture[str]) -> Any:
    capsys.readouterr()
    assert status("audit", *words, "--device", "cpu") == 0
    return json.loads(capsys.readouterr().out, parse_constant=pytest.fail)


def test_an_audit_of_a_image_of_ours_tells_its_settings(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = drawn / FILES[0]
    words = (image, "--model", model, "--caption", PROMPT)
    found = audited(*words, capsys=capsys)
    assert found["settings"]["prompt"] == PROMPT and found["settings"]["seed"] == 3
    assert found["settings"]["percentile"] is None
    assert (found["file"], found["caption"]) == (FILES[0], PROMPT)
    assert found["model_sha256"] == load(model).sha256 and found["copy"] is None
    assert "seed" not in found and found["lids"][0]["conditional"] is not None
    assert status("audit", *words, "--device", "cpu", "--json", tmp_path / "a.json") == 0
    assert json.loads((tmp_path / "a.json").read_text()) == found

    plain = tmp_path / "plain.jpg"
    Image.new("RGB", (50, 40), "teal").save(plain)
    other = audited(plain, "--model", model, capsys=capsys)
    assert other["settings"] is None and other["caption"] == ""
    assert other["caption_source"] is None
    assert other["lids"][0]["conditional"] == other["lids"][0]["unconditional"]


@pytest.mark.parametrize("name", FILES[:2])
def test_an_audit_of_a_run_s_own_file_gives_the_figures_of_the_run(
    model: Path, drawn: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("index", drawn, "--out", tmp_path / "index") == 0
    options = ("--model", model, "--index", tmp_path / "index", "--index-images", drawn)
    again = ["--no-curve", *options[2:], "--out", tmp_path / "run"]
    assert status(*asked(model), *again) == 0
    run = figures(tmp_path / "run")["images"][FILES.index(name)]
    found = audited(tmp_path / "run" / name, *options, capsys=capsys)
    assert (found["caption"], found["caption_source"]) == (PROMPT, "file")
    for part in ("conditional", "unconditional"):
        # One image or two in a batch: float32's last digits, as in the study's own tests.
        assert found["lids"][0][part] == pytest.approx(run["lids"][0][part], abs=0.02)
    assert (found["copy"], found["verdict"]) == (run["copy"], run["verdict"])


def test_an_audit_says_by_what_it_judges_a_file_of_ours(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = drawn / FILES[0]
    words = ["audit", image, "--model", model, "--device", "cpu"]
    assert status(*words) == 0
    note = capsys.readouterr().err
    assert "generated by this model (seed 3, 3 steps, guidance 2" in note and PROMPT in note
    # An option overrides the file, an empty one too.
    for given in ("a dog", ""):
        found = audited(*words[1:4], "--caption", given, capsys=capsys)
        assert (found["caption"], found["caption_source"]) == (given, "option")
        assert found["settings"]["prompt"] == PROMPT
    other = write_pipeline(tmp_path / "other", "sd21", size=4)
    assert status("audit", image, "--model", other, "--device", "cpu") == 0
    printed = capsys.readouterr()
    assert "generated by another model" in printed.err
    assert json.loads(printed.out)["caption"] == PROMPT


def test_a_folder_is_audited_image_by_image_and_what_is_none_is_counted(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine"
    (folder / "below").mkdir(parents=True)
    shutil.copy(drawn / FILES[0], folder / "ours.png")
    Image.new("RGB", (50, 40), "teal").save(folder / "below" / "plain.jpg")
    (folder / "notes.txt").write_text("no image")
    whole = (drawn / FILES[1]).read_bytes()
    (folder / "half.png").write_bytes(whole[: len(whole) // 2])
    found = audited(folder, "--model", model, capsys=capsys)
    assert [one["file"] for one in found["images"]] == ["below/plain.jpg", "ours.png"]
    assert {one["file"] for one in found["left_out"]} == {"notes.txt", "half.png"}
    assert all(one["reason"] for one in found["left_out"])
    # The figures are those of each file alone.
    for one, path in zip(found["images"], ("below/plain.jpg", "ours.png"), strict=True):
        alone = audited(folder / path, "--model", model, capsys=capsys)
        assert (one["verdict"], one["caption"]) == (alone["verdict"], alone["caption"])
        for part in ("conditional", "unconditional"):
            assert one["lids"][0][part] == pytest.approx(alone["lids"][0][part], abs=1e-4)
    assert status("audit", folder, "--model", model, "--device", "cpu") == 0
    told = capsys.readouterr().err
    assert "2 images are audited" in told and "2 files are left out" in told
    # Of two folders with a file of one name each image has its own settings.
    (tmp_path / "other").mkdir()
    Image.new("RGB", (50, 40), "teal").save(tmp_path / "other" / "ours.png")
    both = audited(folder, tmp_path / "other", "--model", model, capsys=capsys)["images"]
    assert [(one["file"], one["settings"] is None) for one in both] == [
        (f"{folder}/below/plain.jpg", True),
        (f"{folder}/ours.png", False),
        (f"{tmp_path / 'other'}/ours.png", True),
    ]
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "notes.txt").write_text("no image")
    assert status("audit", tmp_path / "none", "--model", model, "--device", "cpu") == 2
    assert "None of these files is an image" in capsys.readouterr().err


def test_an_audit_searches_an_index(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status("index", drawn, "--out", tmp_path / "index") == 0
    options = ("--index", tmp_path / "index", "--index-images", drawn)
    found = audited(drawn / FILES[1], "--model", model, *options, capsys=capsys)
    assert (found["copy"]["nearest"], found["copy"]["file"]) == (1, FILES[1])
    assert [near["file"] for near in found["neighbors"]] == [FILES[1], FILES[0]]
    assert f"training image 1 ({FILES[1]})" in found["reason"]
    assert found["copy"]["similarity"] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("data", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_an_audit_of_no_image_ends_with_a_sentence(
    tmp_path: Path, data: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.png").write_bytes(data)
    (tmp_path / "folder").mkdir()
    for place in ("a.png", "missing.png", "folder"):
        # The model does not exist either: the image is looked at first.
        assert status("audit", tmp_path / place, "--model", "nothing") == 2
        told = capsys.readouterr()
        assert told.out == "" and told.err.startswith("Error: ") and "model" not in told.err


def test_an_audit_goes_on_where_the_settings_are_damaged(
    model: Path, drawn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (drawn / FILES[0]).read_bytes()
    # Behind the header of 33 bytes; with a checksum that fits, so that it is an image still.
    (length,) = struct.unpack_from(">I", data, 33)
    chunk = data[37 : 41 + length].replace(b'"seed":3', b'"seed":x')
    whole = data[:37] + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[45 + length :]
    (tmp_path / "a.png").write_bytes(whole)
    assert status("audit", tmp_path / "a.png", "--model", model, "--device", "cpu") == 0
    told = capsys.readouterr()
    assert "settings in this image cannot be read" in told.err
    assert json.loads(told.out)["settings"] is None


def test_the_shipped_model_is_compared_with_its_own_training_set(tmp_path: Path) -> None:
    from mmh_core.pocket.assets import read_prompts
    from mmh_core.text_to_image.catalogue import CATALOGUE

    prompts = read_prompts(Path(CATALOGUE["pocket-sd"].source))
    caption = str(prompts[prompts.trained].caption.iloc[0])
    words = ["--seeds", "0", "--steps", "2", "--no-curve", "--device", "cpu"]
    assert status("images", "--prompt", caption, *words, "--out", tmp_path / "run") == 0
    found = figures(tmp_path / "run")
    assert found["model"] == "pocket-sd" and found["searched"] > 1_000
    one = found["images"][0]
    assert one["truth"]["trained"] and len(one["neighbors"]) == 12
    assert one["copy"]["calibrated_l2"] > 0
    assert found["log_delta"] is not None and None not in one["guidance_norm"]


def test_windows_read_a_long_prompt_to_its_end_and_are_kept(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny encoder reads 14 tokens at once; image, LID, file and command keep the windows."""
    long = "the " * 20 + "cat"
    small = ["--steps", "3", "--guidance", "2", "--device", "cpu", "--seeds", "3", "--no-curve"]
    words = ["images", "--model", model, "--prompt", long, *small]
    for name, more in {"cut": [], "two": ["--windows", "2"]}.items():
        assert status(*words, *more, "--out", tmp_path / name) == 0
    said = capsys.readouterr().out
    assert "the text encoder is full: “the the the the the the cat” (2 context windows" in said
    assert said.count("--windows 2") == 1
    cut, two = figures(tmp_path / "cut"), figures(tmp_path / "two")
    assert cut["prompts"][0]["not_read"].split()[-1] == "cat"
    assert two["prompts"][0]["not_read"] == "" and two["config"]["sampling"]["windows"] == 2
    one, other = (found["images"][0]["lids"][0]["conditional"] for found in (cut, two))
    assert one != other
    again = shlex.split(two["command"])
    assert again[again.index("--windows") + 1] == "2"
    (image,) = (tmp_path / "two").glob("*.png")
    about = read_image_metadata(image.read_bytes())
    assert about is not None and about.windows == settings_of(about).sampling.windows == 2
    # The image is the one that two windows give.
    drawn_again = generate_images(
        load(model), Request(long, (3,), Sampling(3, 2.0, 32, 32, windows=2))
    )
    kept = np.array(Image.open(image)).astype(int)
    assert np.abs(to_uint8(drawn_again)[0].astype(int) - kept).max() <= 1
