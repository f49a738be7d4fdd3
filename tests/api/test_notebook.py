"""What a notebook shows of a result, and what importing the package loads."""

from __future__ import annotations

import math
import subprocess
import sys
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

import mmh_core as mmh
from mmh_core.diffusion.analytic import gaussian_on_subspace
from mmh_core.diffusion.schedule import RectifiedFlow
from mmh_core.memorization.verdict import IMAGE_ROWS
from mmh_core.records import LidEstimate
from mmh_core.report.notebook import MOST_CARDS, Result, html, interval_words, view
from mmh_core.studies.manifolds.run import ManifoldRun
from tests.drawn_runs import HOSTILE, drawn_run, unsearched_run
from tests.mitigation_runs import comparison

ROOT = Path(__file__).parents[2]


class Tags(HTMLParser):
    """The elements of a page and what they link."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        if tag not in ("img", "rect", "circle", "path"):
            self.open.append(tag)
        assert not [name for name, _ in attrs if name.startswith("on")]
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("img", "rect", "circle", "path"):
            assert self.open.pop() == tag


def parsed(page: str) -> Tags:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    return tags


@pytest.mark.parametrize("run", [drawn_run(), unsearched_run(), comparison(HOSTILE)])
def test_a_run_shows_as_html_that_loads_nothing_and_obeys_no_text(run: object) -> None:
    tags = parsed(html(run))
    assert "script" not in tags.names
    assert tags.sources
    assert all(one.startswith("data:image/png;base64,") for one in tags.sources)
    assert all("example.org" not in one for one in tags.sources)


def test_an_image_shows_interval_similarity_threshold_verdict_and_reason() -> None:
    run = drawn_run()
    first = run.images[0]
    assert first.lid is not None and first.copy is not None
    lid = replace(first.lid, conditional=5.0, conditional_error=1.0, probes=8)
    found = replace(first, lids=(lid,), copy=replace(first.copy, threshold=0.88))
    text = html(found)
    # Student's t with 7 degrees of freedom has its 97.5 % quantile at 2.365.
    assert "5.0 (95 % interval 2.6 to 7.4)" in text
    assert "0.970 (copy threshold 0.880)" in text
    assert "exact copy" in text
    assert escape(IMAGE_ROWS["exact copy"].sentence) in text
    assert found.frame().verdict.tolist() == ["exact copy"]


@pytest.mark.parametrize(
    ("conditional", "error", "draws", "words"),
    [
        (5.0, 1.0, None, "5.0 (standard error 1.0)"),
        (5.0, math.nan, None, "5.0"),
        (-0.11, 0.001, 8, "0.0 (95 % interval 0.0 to 0.0)"),
        (math.nan, math.nan, None, "unknown"),
    ],
)
def test_a_lid_is_said_with_what_is_known_of_its_error(
    conditional: float, error: float, draws: int | None, words: str
) -> None:
    lid = drawn_run().images[0].lid
    assert lid is not None
    known = replace(lid, conditional=conditional, conditional_error=error, probes=draws)
    assert interval_words(known) == words


def test_what_is_not_shown_is_counted() -> None:
    run = drawn_run()
    many = replace(run, images=run.images * 5)
    seen = view(many)
    assert len(seen.cards) == MOST_CARDS
    assert seen.after == (f"{20 - MOST_CARDS} more images: see .frame().",)
    estimate = LidEstimate(torch.arange(30.0), torch.zeros(30), 3.0)
    assert len(view(estimate).rows) == 20
    assert view(estimate).after == ("10 more rows: see .frame().",)


def test_an_unknown_record_is_refused_by_its_name() -> None:
    with pytest.raises(TypeError, match="A str has no view"):
        view("text")


def test_a_result_is_its_records_table_and_keeps_its_values(tmp_path: Path) -> None:
    result = Result(drawn_run())
    assert result.frame().equals(result.record.frame())
    assert repr(result).startswith("ImageRun\n")
    assert HOSTILE not in result._repr_html_()
    mmh.save(result, tmp_path / "run.safetensors")
    again = mmh.load(tmp_path / "run.safetensors")
    assert again.frame().equals(result.frame())
    page = mmh.write_report(result, tmp_path / "report")
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_what_cannot_be_loaded_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(mmh.MMHError, match="There is no file"):
        mmh.load(tmp_path / "none.safetensors")
    mmh.save(Result(LidEstimate(torch.ones(1), torch.ones(1), 1.0)), tmp_path / "lid.safetensors")
    with pytest.raises(mmh.MMHError, match="holds no run of images"):
        mmh.load(tmp_path / "lid.safetensors")


@pytest.mark.parametrize("estimator", ["flipd_exact", "spectral_count"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_lid_of_a_gaussian_is_its_rank(estimator: str, rank: int) -> None:
    frame, ones = torch.eye(3, rank), torch.ones(rank)
    model = gaussian_on_subspace(torch.zeros(3), frame, ones, RectifiedFlow())
    found = mmh.lid(model, torch.zeros(1, 3), -4.0, estimator=estimator)
    # FLIPD there is rank / (1 + delta^2) with delta^2 = exp(-8).
    assert float(found.record.lid[0]) == pytest.approx(rank, abs=0.01)
    assert parsed(found._repr_html_()).names.count("tr") == 2


def test_an_unknown_estimator_is_named_with_the_choices() -> None:
    model = gaussian_on_subspace(torch.zeros(2), torch.eye(2, 1), torch.ones(1), RectifiedFlow())
    with pytest.raises(ValueError, match=r"flipdd.*flipd_exact"):
        mmh.lid(model, torch.zeros(1, 2), -3.0, estimator="flipdd")


def test_a_manifold_is_trained_with_progress_and_shown() -> None:
    said: list[tuple[float, str]] = []
    result = mmh.train_manifold(
        "circle", points=12, epochs=2, progress=lambda share, line: said.append((share, line))
    )
    assert isinstance(result.record, ManifoldRun)
    assert said[0][0] == 0.0 and said[-1] == (1.0, "Finished")
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    tags = parsed(result._repr_html_())
    assert tags.names.count("path") == 12
    dots = len(result.record.snapshots[-1].generated.points)
    assert 0 < tags.names.count("circle") <= dots


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = {"diffusers", "jinja2", "numpy", "pandas", "pyarrow", "scipy", "sklearn", "torch"}
    code = (
        "import mmh_core, sys; dir(mmh_core); "
        f"found = {heavy} & sys.modules.keys(); sys.exit(f'{{sorted(found)}}' if found else 0)"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, timeout=60)
    assert ended.returncode == 0, ended.stderr.decode()


def test_every_name_of_the_api_is_there_and_no_other() -> None:
    for name in mmh.__all__:
        assert getattr(mmh, name).__doc__
    misspelled = "open_subjects"
    with pytest.raises(AttributeError, match=misspelled):
        getattr(mmh, misspelled)
