"""Figures of a comparison: marks where the figures are, labels that do not cover one another."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from mmh_core.mitigations.catalogue import MITIGATIONS
from mmh_core.plots import theme
from mmh_core.plots.mitigation import FAMILIES, frontier, must_not_move, short_name
from mmh_core.plots.token_bars import token_bars
from mmh_core.studies.mitigation.table import treatment_rows
from tests.mitigation_runs import NONE, STATIC, comparison, token_run


def marks(figure: object) -> dict[str, tuple[float, float]]:
    """Return the place of every named mark."""
    return {
        name: (x, y)
        for trace in figure.data  # type: ignore[attr-defined]
        for name, x, y in zip(trace.text or (), trace.x, trace.y, strict=False)
    }


def test_every_treatment_stands_at_its_alignment_and_similarity_with_its_name() -> None:
    found = marks(frontier(treatment_rows(comparison())))
    assert set(found) == {
        "No mitigation",
        "Random token insertion (2)",
        "Static transition point (50 %)",
        *(["Token-attribution rewriting (4)"]),
    }
    assert found["No mitigation"] == (pytest.approx(0.42), pytest.approx(0.97))
    assert found["Static transition point (50 %)"] == (pytest.approx(0.39), pytest.approx(0.65))


def test_whiskers_are_the_intervals_and_customdata_the_rows() -> None:
    rows = treatment_rows(comparison())
    trace = next(t for t in frontier(rows).data if t.name == "in the guidance")
    row = rows[2]
    assert trace.customdata == (2,)
    assert trace.error_y.array[0] == pytest.approx(
        row.similarity.mean.high - row.similarity.mean.value
    )
    assert trace.error_x.arrayminus[0] == pytest.approx(
        row.alignment.mean.value - row.alignment.mean.low
    )


def test_the_chosen_treatment_has_a_ring() -> None:
    rings = [
        t
        for t in frontier(treatment_rows(comparison()), STATIC).data
        if t.marker.color == theme.RING
    ]
    assert [(r.x[0], r.y[0]) for r in rings] == [(pytest.approx(0.39), pytest.approx(0.65))]
    assert not [
        t for t in frontier(treatment_rows(comparison())).data if t.marker.color == theme.RING
    ]


def test_labels_of_equal_marks_stand_at_different_places() -> None:
    run = comparison()
    same = tuple(
        replace(c, similarity=torch.tensor([0.5, 0.5]), alignment=torch.tensor([0.4, 0.4]))
        if not c.refused
        else c
        for c in run.cells
    )
    figure = frontier(treatment_rows(replace(run, cells=same)))
    places = [place for trace in figure.data for place in trace.textposition or ()]
    assert len(places) == 4 and len(set(places)) == 4


def test_without_a_training_set_the_frontier_says_so() -> None:
    run = comparison()
    blind = tuple(replace(c, similarity=torch.full((len(c.kinds),), math.nan)) for c in run.cells)
    figure = frontier(treatment_rows(replace(run, cells=blind)))
    assert "no copy search" in figure.layout.annotations[0].text


def test_normal_prompts_show_the_change_of_alignment_of_all_but_none() -> None:
    figure = must_not_move(treatment_rows(comparison(), (1,)))
    found = {trace.y[0]: trace.x[0] for trace in figure.data}
    assert set(found) == {
        "Random token insertion (2)",
        "Static transition point (50 %)",
        "Token-attribution rewriting (4)",
    }
    assert found["Static transition point (50 %)"] == pytest.approx(0, abs=1e-6)
    assert "No reference prompts" in must_not_move(()).layout.annotations[0].text


def test_what_only_moved_off_the_threshold_has_a_hollow_gray_mark() -> None:
    run = comparison()
    still = tuple(
        replace(c, lid=torch.tensor([2.4, 24.0])) if c.treatment == STATIC else c
        for c in run.cells
    )
    (usual,) = [t for t in frontier(treatment_rows(run)).data if t.name == "in the guidance"]
    figure = frontier(treatment_rows(replace(run, cells=still)))
    (moved,) = [t for t in figure.data if t.name == "in the guidance"]
    assert (usual.marker.symbol, usual.marker.color) == (("circle",), (theme.ACCENT,))
    assert (moved.marker.symbol, moved.marker.color) == (("circle-open",), (theme.NEUTRAL,))
    assert "1 of 2 moved off the threshold, LID unchanged: not solved" in moved.hovertext[0]
    assert "not solved" not in usual.hovertext[0]


def test_new_copies_of_reference_prompts_are_red_crosses() -> None:
    run = comparison()
    copied = tuple(
        replace(c, kinds=("none", "exact")) if c.treatment == STATIC and c.prompt else c
        for c in run.cells
    )
    traces = must_not_move(treatment_rows(replace(run, cells=copied), (1,))).data
    found = {trace.y[0]: trace for trace in traces}
    assert found["Static transition point (50 %)"].marker.symbol == "x"
    assert "1 of 2 images become copies" in found["Static transition point (50 %)"].hovertemplate
    assert found["Random token insertion (2)"].marker.symbol != "x"


def test_token_bars_are_scaled_to_their_largest_and_mark_the_chosen_one() -> None:
    figure = token_bars(token_run().attributions, 1)
    first, control = figure.data
    assert list(first.y) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1])
    assert list(control.y) == pytest.approx(list(first.y)[::-1])
    assert first.customdata == (0, 1, 2, 3, 4, 5)
    assert first.marker.color[1] == theme.RING and first.marker.color[0] == theme.ACCENT
    assert control.marker.color[0] == theme.NEUTRAL
    assert figure.layout.xaxis.ticktext == ("a", "red", "fox", "in", "the", "snow")
    # A band of the control in each panel, in the panel's own scale: here above the largest bar.
    bands = [(shape.yref, shape.y0, shape.y1) for shape in figure.layout.shapes]
    assert bands == [("y", 0, 1.1), ("y2", 0, 1.1)]


def test_tokens_are_shown_and_never_obeyed() -> None:
    figure = token_bars(token_run('<b>x</b> <img/src="y">').attributions)
    assert figure.layout.xaxis.ticktext[0] == "&lt;b&gt;x&lt;/b&gt;"
    assert "<" not in "".join(figure.data[0].text)


def test_every_mitigation_of_the_catalogue_has_a_look_and_looks_differ() -> None:
    assert set(FAMILIES) == set(MITIGATIONS)
    families = set(FAMILIES.values())
    assert len({f.color for f in families}) == len({f.symbol for f in families}) == len(families)
    assert short_name(treatment_rows(comparison())[0]) == "No mitigation"
    assert treatment_rows(comparison())[0].treatment == NONE
