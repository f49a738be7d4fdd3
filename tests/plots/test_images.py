"""Figures and images of the image study: what is drawn is what the record says."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mmh_core.plots import images
from mmh_core.plots.image_grid import difference, reduced, region_image
from mmh_core.plots.theme import alt_text
from mmh_core.studies.images.map import ImageMap
from mmh_core.studies.images.run import ImageRun
from tests.drawn_runs import LOG_DELTAS, drawn_run, unsearched_run


@pytest.fixture(scope="module")
def run() -> ImageRun:
    return drawn_run()


def traces(figure: object) -> dict[str, object]:
    return {trace.name: trace for trace in figure.data if trace.name}  # type: ignore[attr-defined]


def test_the_curve_lies_on_the_records_values_with_the_chosen_scale_marked(run: ImageRun) -> None:
    one = run.images[0]
    figure = images.lid_curve(one, run.log_deltas, run.log_delta, run.reference)
    line = traces(figure)["this image (± 1 standard error)"]
    assert list(line.x) == pytest.approx([math.exp(v) for v in LOG_DELTAS])  # type: ignore[attr-defined]
    assert list(line.y) == pytest.approx(one.curve.tolist())  # type: ignore[attr-defined]
    mark = traces(figure)["chosen"]
    assert one.lid is not None
    assert (mark.x[0], mark.y[0]) == pytest.approx(  # type: ignore[attr-defined]
        (math.exp(run.log_delta), one.lid.conditional)
    )
    assert "reference prompts" in alt_text(figure)


def test_the_band_of_the_curve_is_that_of_the_normal_prompts(run: ImageRun) -> None:
    assert run.reference is not None
    figure = images.lid_curve(run.images[0], run.log_deltas, run.log_delta, run.reference)
    band = traces(figure)["reference prompts, 5 to 95 %"]
    shares = torch.tensor([0.05, 0.95])
    low, high = run.reference.curve.quantile(shares, dim=0).tolist()
    assert list(band.y) == pytest.approx([*high, *reversed(low)])  # type: ignore[attr-defined]
    alone = images.lid_curve(run.images[0], run.log_deltas, run.log_delta, None)
    assert "reference prompts, 5 to 95 %" not in traces(alone)


def test_guidance_norms_stand_at_their_steps_with_a_band_of_equal_length_only(
    run: ImageRun,
) -> None:
    one, normal = run.images[0], run.reference
    assert normal is not None
    figure = images.guidance_norms(one, normal)
    line = traces(figure)["this image"]
    assert list(line.x) == list(range(1, len(one.guidance_norm) + 1))  # type: ignore[attr-defined]
    assert list(line.y) == pytest.approx(one.guidance_norm.tolist())  # type: ignore[attr-defined]
    assert "median of reference prompts" in traces(figure)
    shorter = replace(normal, guidance_norm=normal.guidance_norm[:, :-1])
    assert "median of reference prompts" not in traces(images.guidance_norms(one, shorter))
    unguided = replace(one, guidance_norm=torch.full_like(one.guidance_norm, math.nan))
    assert "Without guidance" in alt_text(images.guidance_norms(unguided, normal))


def test_the_histogram_counts_all_normal_images_and_marks_each_sample(run: ImageRun) -> None:
    assert run.reference is not None
    figure = images.lid_histogram(run.images, run.reference)
    bars = figure.data[0]
    assert sum(bars.y) == len(run.reference.conditional)
    width = bars.x[1] - bars.x[0]
    for center, count in zip(bars.x, bars.y, strict=True):
        inside = (run.reference.conditional / width).floor() == round(center / width - 0.5)
        assert count == int(inside.sum())
    marked = sorted(x for trace in figure.data[1:] for x in trace.x)
    assert marked == pytest.approx(
        sorted(one.lid.conditional for one in run.images if one.lid is not None)
    )
    names = {one.verdict for one in run.images}
    assert {trace.name for trace in figure.data[1:]} == names


def test_without_normal_prompts_the_marks_stand_alone() -> None:
    run = unsearched_run()
    figure = images.lid_histogram(run.images, None)
    assert all(trace.type == "scatter" for trace in figure.data)
    assert not figure.layout.yaxis.showticklabels


def test_the_map_carries_ids_and_keeps_training_images_grey_until_selected(
    run: ImageRun,
) -> None:
    found = ImageMap(
        (3, 7, 9),
        ("open", "duplicate", "open"),
        ("a", "<b>b</b>", "c"),
        (1, 2, 1),
        torch.tensor([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
        torch.tensor([[0.5, float(i)] for i in range(len(run.images))]),
        "two axes",
    )
    figure = images.image_map(found, run.images)
    clouds = {trace.name: trace for trace in figure.data[:2]}
    assert list(clouds["unnamed subject, many images"].customdata) == [3, 9]
    assert list(clouds["unnamed subject, many images"].x) == [0.0, 4.0]
    assert clouds["duplicated training image"].text == ("&lt;b&gt;b&lt;/b&gt;",)
    greys = {cloud.marker.color for cloud in clouds.values()}
    assert len(greys) == 1
    chosen = [cloud.selected.marker.color for cloud in clouds.values()]
    assert len(set(chosen)) == 2 and not greys & set(chosen)
    many = len(run.images)
    drawn, legend = figure.data[2 : 2 + many], figure.data[2 + many :]
    assert [trace.customdata[0] for trace in drawn] == [-1 - one.index for one in run.images]
    # Grey clouds have no color to show in a legend, so it is drawn beside them.
    assert not any(cloud.showlegend for cloud in clouds.values())
    assert [trace.marker.color for trace in legend] == [
        clouds[trace.name].selected.marker.color for trace in legend
    ]


def test_a_smaller_image_keeps_its_mean_and_a_small_one_every_pixel() -> None:
    image = torch.randint(0, 256, (3, 64, 32), dtype=torch.uint8)
    smaller = reduced(image, 16)
    assert smaller.shape == (3, 16, 8)
    blocks = image.float().reshape(3, 16, 4, 8, 4).mean(dim=(2, 4))
    # Averages over whole blocks, rounded to a whole number.
    assert float((smaller.float() - blocks).abs().max()) <= 0.5 + 1e-4
    assert reduced(image, 64) is image


def test_the_difference_is_absolute_and_zero_for_equal_images() -> None:
    one = torch.full((3, 4, 4), 200, dtype=torch.uint8)
    other = torch.full((3, 4, 4), 250, dtype=torch.uint8)
    assert difference(one, other).unique().tolist() == [50]
    assert torch.equal(difference(one, other), difference(other, one))
    assert int(difference(one, one).max()) == 0
    # A plain image is plain at any size.
    assert difference(one, torch.full((3, 8, 8), 250, dtype=torch.uint8)).unique().tolist() == [50]


def test_a_region_map_is_violet_where_it_is_none_and_yellow_at_its_most() -> None:
    region = torch.zeros(4, 4)
    region[0, 0] = 2.0
    found = region_image(region, 32, 32)
    assert found is not None and found.shape == (3, 32, 32)
    assert found[:, 0, 0].tolist() == [253, 231, 37]
    assert found[:, -1, -1].tolist() == [68, 1, 84]
    # Lightness (Rec. 709 luma) rises with the value along the smooth edge.
    luma = (found.float() * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(0)[0, :13]
    assert bool((luma.diff() <= 0).all()) and float(luma[0] - luma[-1]) > 150
    assert region_image(torch.full((4, 4), math.nan), 32, 32) is None
    assert region_image(torch.zeros(4, 4), 8, 8) is not None


@pytest.mark.parametrize("wrong", [torch.zeros(3, 4, 4), torch.zeros(1, 4, 4, dtype=torch.uint8)])
def test_what_is_no_image_is_refused(wrong: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        reduced(wrong, 2)
    with pytest.raises(ValueError, match="must be uint8"):
        difference(wrong, wrong)
