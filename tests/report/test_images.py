"""The report of an image run: what it says, that it asks for nothing, and equal bytes."""

from __future__ import annotations

import base64
import csv
import io
import json
import math
import shlex
import zipfile
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from mmh_core.records import MMHError
from mmh_core.report import image_command, image_report, run_files, run_summary, run_zip
from mmh_core.report.charts import HEIGHT, WIDTH, Chart, round_ticks, svg
from mmh_core.report.folder import check_folder, write_folder
from mmh_core.report.image_files import metadata_of, png_bytes, read_image_metadata
from mmh_core.report.page import percentile_words
from mmh_core.report.summary import paragraph
from mmh_core.studies.images.run import ImageRun, ImageVerdict
from tests.commands import files_of
from tests.drawn_runs import HOSTILE, drawn_run, noise, unsearched_run

COMMAND = "./mmh images --prompt '<b>x</b>' --out images"
#: Elements that are empty by nature and have no end tag.
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Collect what a browser would make of a page: elements, attributes, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


@pytest.fixture(scope="module")
def run() -> ImageRun:
    return drawn_run()


@pytest.fixture(scope="module")
def page(run: ImageRun) -> Page:
    return Page(image_report(run, COMMAND))


def pixels(url: str | None) -> torch.Tensor:
    assert url is not None and url.startswith("data:image/png;base64,")
    with Image.open(io.BytesIO(base64.b64decode(url.partition(",")[2]))) as image:
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def test_the_page_can_ask_for_nothing(run: ImageRun, page: Page) -> None:
    text = image_report(run, COMMAND)
    policy = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "link", "iframe", "object", "embed", "a", "form", "base", "video"}
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
        source = attributes.get("src")
        assert source is None or source.startswith("data:image/png;base64,")
    assert "url(" not in text and "@import" not in text


def test_texts_of_others_are_shown_and_never_obeyed(page: Page) -> None:
    # Twice as prompt, caption and reason; nothing of it became an element.
    assert page.text.count(HOSTILE) >= 6
    assert COMMAND in page.text and not page.all("b")
    assert "the last words" in page.text
    assert len(page.all("img")) == 4 * (2 + 3)


def test_what_no_page_may_hold_is_marked(run: ImageRun) -> None:
    near = replace(run.images[0].neighbors[0], caption="a\ud800b\x00c")
    first = replace(run.images[0], neighbors=(near,))
    text = image_report(replace(run, images=(first,)), COMMAND)
    assert "a\ufffdb\ufffdc" in text
    text.encode()


def test_each_card_shows_its_own_image_and_the_one_it_is_near_to(
    run: ImageRun, page: Page
) -> None:
    images = page.all("img")
    for number, one in enumerate(run.images):
        drawn, nearest, *listed = images[5 * number : 5 * number + 5]
        assert torch.equal(pixels(drawn["src"]), one.image)
        assert torch.equal(pixels(nearest["src"]), one.neighbors[0].image)
        assert [i["alt"] for i in listed] == [f"Training image {n.id}" for n in one.neighbors]
        assert drawn["class"] == "grain"


def test_the_nearest_is_the_one_that_the_evidence_names(run: ImageRun) -> None:
    copy = run.images[0].copy
    assert copy is not None
    first = replace(run.images[0], copy=replace(copy, nearest=42))
    found = Page(image_report(replace(run, images=(first,)), COMMAND))
    assert torch.equal(pixels(found.all("img")[1]["src"]), first.neighbors[2].image)


def test_large_images_are_smooth_and_reduced_in_the_list(run: ImageRun) -> None:
    near = tuple(replace(n, image=noise(n.id, 256)) for n in run.images[0].neighbors)
    first = replace(run.images[0], image=noise(0, 256), neighbors=near)
    images = Page(image_report(replace(run, images=(first,)), COMMAND)).all("img")
    assert "class" not in images[0] and "class" not in images[1]
    assert torch.equal(pixels(images[0]["src"]), first.image)
    reduced = pixels(images[2]["src"])
    assert reduced.shape == (3, 96, 96)
    # Reducing keeps the mean; of 196,608 numbers from 0 to 255 it is known to 0.2.
    assert float(reduced.float().mean()) == pytest.approx(
        float(near[0].image.float().mean()), abs=1
    )


def test_figures_verdicts_and_reasons_stand_on_the_cards(run: ImageRun, page: Page) -> None:
    for one in run.images:
        assert f"image {one.index:03d}, seed {one.seed}" in page.text
        assert one.verdict in page.text and one.reason in page.text
        assert f"Soft spectral count {one.lids[0].conditional:.1f} ± 0.8 SE" in page.text
    assert "FLIPD -31.5 ± 0.8 SE" in page.text  # the second estimator
    assert "LID percentile 0 %" in page.text and "LID percentile 60 %" in page.text
    assert "LID percentile 0.4 %" in page.text
    assert "0.970" in page.text and "mean similarity of 0.875" in page.text
    assert page.text.count("mean similarity") == 1  # of one image there is none
    assert (
        "overfitted training image, a training caption" in page.text
        and "Data LID of the prompt 7.0" in page.text
    )
    assert run.sha256 in page.text and run.noise_sha256 in page.text
    assert torch.__version__.partition("+")[0] in page.text


def test_nothing_is_made_up_where_nothing_is_known() -> None:
    found = Page(image_report(unsearched_run(), COMMAND))
    assert len(found.all("img")) == 4 and not found.all("svg")
    assert found.text.count("No training images were searched") == 4 + 1
    assert "nan" not in found.text.lower().replace("unanswered", "")
    assert "none at these settings" in found.text
    for word in ("Calibrated L2", "Data LID of", "LID percentile"):
        assert word not in found.text


@pytest.mark.parametrize(
    ("verdicts", "said", "never"),
    [
        (
            ["exact copy", "exact copy", "template copy", "not memorized"],
            ["3 of 4 are copies", "2 each repeat a training image", "1 repeats the layout"],
            ["suspicious", "None of"],
        ),
        (["not memorized"] * 4, ["None of 4 is a copy", "1,234 training"], ["copies of", "means"]),
        (
            ["suspicious, no copy found"] + ["not memorized"] * 3,
            ["None of 4 is a copy", "1 is suspicious"],
            ["repeat"],
        ),
        (
            ["exact copy", "not read yet", "not read yet", "not memorized"],
            ["1 of 2 is a copy", "2 of them are not measured"],
            [],
        ),
    ],
)
def test_the_summary_counts_in_words(
    run: ImageRun, verdicts: list[ImageVerdict], said: list[str], never: list[str]
) -> None:
    images = tuple(
        replace(one, verdict=verdict) for one, verdict in zip(run.images, verdicts, strict=True)
    )
    text = paragraph(replace(run, images=images))
    assert "generated 4 images from 2 prompts." in text
    for words in said:
        assert words in text
    for words in never:
        assert words not in text


def test_without_a_training_set_the_summary_calls_nothing_a_copy() -> None:
    run = unsearched_run()
    assert "it is unknown" in paragraph(run)
    low = replace(run.images[0], verdict="memorized, cause not identifiable")
    text = paragraph(replace(run, images=(low, *run.images[1:])))
    assert "For 1 of 4" in text and "is the cause is not identifiable" in text


def test_a_run_that_was_cut_off_has_a_page_too(run: ImageRun) -> None:
    unread = replace(
        run.images[0],
        lids=(),
        copy=None,
        neighbors=(),
        verdict="not read yet",
        reason="",
        curve=torch.empty(0),
        curve_error=torch.empty(0),
    )
    cut = replace(
        run,
        state="stopped",
        images=(unread,),
        seed_similarity=(),
        log_delta=math.nan,
        noise_sha256="",
    )
    found = Page(image_report(cut, COMMAND))
    assert "generated 1 image of the 4 requested" in found.text
    assert "not chosen yet" in found.text and len(found.all("svg")) == 1
    empty = Page(image_report(replace(cut, images=()), COMMAND))
    assert "has generated no image" in empty.text
    assert run_summary(cut)["images"][0]["lids"] == []


def test_percentiles_in_words() -> None:
    assert [percentile_words(p) for p in (0.0, 0.0001, 0.004, 0.25, 0.995, 1.0)] == [
        "0 %",
        "less than 0.1 %",
        "0.4 %",
        "25 %",
        "more than 99 %",
        "100 %",
    ]


def points(chart: str, kind: str) -> list[tuple[float, float]]:
    """Return the places of the elements of one kind in a chart."""
    found = [e for e in ElementTree.fromstring(chart).iter() if e.get("class") == kind]
    words = " ".join(e.get("points") or "" for e in found).split()
    return [(float(x), float(y)) for x, _, y in (word.partition(",") for word in words)]


def test_a_chart_is_to_scale() -> None:
    chart = svg(Chart("a < b", "x", "y", x=(1.0, 2.0, 3.0), y=(0.0, 50.0, 100.0)))
    (x1, y1), (x2, y2), (x3, y3) = points(chart, "line")
    # Places are rounded to a tenth of a pixel.
    assert x2 - x1 == pytest.approx(x3 - x2, abs=0.2)
    assert y1 - y2 == pytest.approx(y2 - y3, abs=0.2) and y1 - y3 > HEIGHT / 2
    assert y1 == pytest.approx(HEIGHT - 36, abs=0.1)  # 0 stands on the axis
    assert 'aria-label="a &lt; b"' in chart
    assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(chart, "line"))


def test_the_band_of_normal_prompts_is_from_5_to_95_percent(run: ImageRun, page: Page) -> None:
    # The normal figures are 0, 1, ..., 100, so the band is from 5 to 95 at every step.
    text = image_report(run, COMMAND)
    charts = [f"<svg{part.partition('</svg>')[0]}</svg>" for part in text.split("<svg")[1:]]
    assert len(charts) == 8
    ruler = svg(Chart("", "", "", x=(1.0, 5.0), y=(5.0, 95.0), low=(5.0, 95.0), high=(95.0, 95.0)))
    (_, low), (_, high) = points(ruler, "line")
    for chart in charts[::2]:
        band = points(chart, "band")
        assert len(band) == 10
        assert {y for _, y in band} == {low, high}


def test_unknown_points_are_gaps_and_not_zeros() -> None:
    nan = math.nan
    chart = svg(Chart("", "x", "y", x=(1.0, 2.0, 3.0, 4.0, 5.0), y=(1.0, 2.0, nan, 3.0, 1.0)))
    assert chart.count("<polyline") == 2 and len(points(chart, "line")) == 4
    assert svg(Chart("", "x", "y", x=(1.0, 2.0), y=(nan, nan))) == ""
    assert svg(Chart("", "x", "y", x=(), y=())) == ""
    alone = svg(Chart("", "x", "y", x=(1.0,), y=(2.0,)))
    assert alone.count("<circle") == 1 and "nan" not in alone


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (3, 3, [3]), (0, 25, None)],
)
def test_ticks_are_round(low: float, high: float, expected: list[float] | None) -> None:
    found = round_ticks(low, high)
    if expected is not None:
        assert found == pytest.approx(expected)
    assert len(found) <= 6 and all(low - 1e-9 <= tick <= high + 1e-9 for tick in found)


def test_the_summary_holds_all_figures_but_no_seconds(run: ImageRun) -> None:
    found = json.loads(json.dumps(run_summary(run), allow_nan=False))
    first = found["images"][0]
    assert found["verdicts"]["exact copy"] == 1 and found["searched"] == 1234
    assert first["lids"][1]["estimator"] == "flipd" and first["lids"][1]["conditional"] == -31.5
    assert first["guidance_norm"] == [40.0, 32.5, 25.0, 17.5, 10.0]
    assert first["copy"]["nearest"] == 40 and first["neighbors"][2]["similarity"] == 0.77
    assert first["truth"]["lid"] == 7.0 and found["prompts"][1]["seed_similarity"] is None
    assert found["config"]["seeds"] == [0, 7] and "frames" not in found["config"]
    later = replace(run, seconds_generating=99.0, seconds_estimating=98.0)
    assert run_summary(later) == run_summary(run)


def test_unknown_figures_are_null() -> None:
    found = run_summary(unsearched_run())
    first = found["images"][0]
    assert first["guidance_norm"] == [None] * 5
    assert first["lids"][0]["percentile"] is None and first["copy"] is None
    assert found["reference_images"] is None
    json.dumps(found, allow_nan=False)


def test_the_zip_is_the_same_every_time_and_holds_the_files(run: ImageRun) -> None:
    data = run_zip(run, COMMAND)
    later = replace(drawn_run(), seconds_generating=99.0)
    assert data == run_zip(later, COMMAND)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        found = {name: archive.read(name) for name in archive.namelist()}
        assert all(entry.external_attr >> 16 == 0o644 for entry in archive.infolist())
    assert found == run_files(run, COMMAND)
    assert list(found) == [
        "000-seed-0.png",
        "001-seed-7.png",
        "002-seed-0.png",
        "003-seed-7.png",
        "run.json",
        "report.html",
        "images.csv",
    ]
    for one in run.images:
        about = read_image_metadata(found[f"{one.index:03d}-seed-{one.seed}.png"])
        assert repr(about) == repr(metadata_of(run, one))
    assert json.loads(found["run.json"])["command"] == COMMAND
    assert found["report.html"].decode() == image_report(run, COMMAND)
    assert found["images.csv"][:3] == b"\xef\xbb\xbf"
    text = found["images.csv"].decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert [row["verdict"] for row in rows] == [one.verdict for one in run.images]
    assert rows[2]["prompt"] == HOSTILE


def test_a_caption_with_lone_surrogates_spoils_no_file(run: ImageRun) -> None:
    near = replace(run.images[0].neighbors[0], caption="a\ud800b")
    first = replace(run.images[0], neighbors=(near,))
    files = run_files(replace(run, images=(first,)), COMMAND)
    caption = json.loads(files["run.json"])["images"][0]["neighbors"][0]["caption"]
    assert caption == "a\ud800b"


def test_the_command_names_everything_that_was_asked(run: ImageRun) -> None:
    config = replace(
        run.config,
        prompts=('it\'s a "dog" $HOME `ls`', "--out /", "two\nlines"),
        estimators=("flipd", "dsm"),
        curve=False,
        sampling=replace(
            run.config.sampling,
            negative="-x",
            guidance=-1.5,
            scheduler="dpm++ 2m",
        ),
    )
    assert shlex.split(image_command(config, ["--index", "a b"])) == [
        "./mmh",
        "images",
        "--model",
        "pocket-sd",
        "--prompt",
        'it\'s a "dog" $HOME `ls`',
        "--prompt=--out /",
        "--prompt",
        "two\nlines",
        "--negative=-x",
        "--seeds",
        "0,7",
        "--steps",
        "5",
        "--guidance=-1.5",
        "--scheduler",
        "dpm++ 2m",
        "--height",
        "16",
        "--width",
        "16",
        "--estimators",
        "flipd,dsm",
        "--no-curve",
        "--index",
        "a b",
        "--out",
        "images",
    ]


def test_a_folder_is_replaced_whole_by_a_later_run(run: ImageRun, tmp_path: Path) -> None:
    files = run_files(run, COMMAND)
    for place in (tmp_path / "new" / "run", tmp_path / "empty"):
        if place.name == "empty":
            place.mkdir()
        write_folder(place, files)
        assert files_of(place) == files
    fewer = run_files(replace(run, images=run.images[:1]), COMMAND)
    write_folder(tmp_path / "empty", fewer)
    assert files_of(tmp_path / "empty") == fewer
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "new"]


def test_a_link_to_a_folder_keeps_pointing_there(run: ImageRun, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files = run_files(run, COMMAND)
    write_folder(tmp_path / "link", files)
    assert (tmp_path / "link").is_symlink() and files_of(tmp_path / "real") == files


@pytest.mark.parametrize("stranger", ["notes.txt", "0-seed-0.png", "run.json.bak", "sub"])
def test_a_folder_with_other_things_is_left_alone(
    run: ImageRun, tmp_path: Path, stranger: str
) -> None:
    place = tmp_path / "run"
    write_folder(place, run_files(run, COMMAND))
    (place / stranger).write_text("mine")
    before = files_of(place)
    with pytest.raises(MMHError, match="other things"):
        write_folder(place, run_files(run, COMMAND))
    assert files_of(place) == before


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": "other"}', "[" * 100_000])
def test_a_run_json_of_another_program_is_no_run(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(MMHError, match="other things"):
        check_folder(tmp_path)
    (tmp_path / "run.json").write_text('{"format": "mmh-image-run-1"}')
    check_folder(tmp_path)


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    for place in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(MMHError, match=r"is a file|cannot be written"):
            check_folder(place)


def test_what_a_run_lacks_and_what_was_chosen_for_its_model_are_in_page_figures_and_image(
    run: ImageRun,
) -> None:
    lacking = replace(run, missing=("No LID: <b>too</b> large.",), notes=("Read as v.",))
    page = image_report(lacking, COMMAND)
    assert "No LID: &lt;b&gt;too&lt;/b&gt; large." in page and "Read as v." in page
    found = run_summary(lacking)
    assert (found["missing"], found["model_notes"]) == ([*lacking.missing], ["Read as v."])
    about = metadata_of(lacking, lacking.images[0])
    assert read_image_metadata(png_bytes(lacking.images[0].image, about)) == about
    assert about.missing == lacking.missing
    assert run_summary(run)["missing"] == []
