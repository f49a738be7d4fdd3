"""The check of the second world: each demand beside its bar; what is not measured is short."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mmh_core.memorization.text_baseline import FEATURES, text_baseline
from mmh_core.pocket.autoencoder import psnr
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.figures import Check, Row
from mmh_core.pocket.second.doses import COPIES, TRANSFORMS, Dose, one_sided
from mmh_core.pocket.second.families import GRAMMARS, GrammarCaption
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.generated import ImageCounts
from mmh_core.pocket.second.images import open_images
from mmh_core.pocket.second.inspection import FurtherFigures, Inspection
from mmh_core.pocket.second.network_figures import network_rows, part_rows
from mmh_core.pocket.second.plan import (
    ALL_MINUTES,
    STAGE_MINUTES,
    TWO_CORES,
    SecondConfig,
    planned_minutes,
)
from mmh_core.pocket.second.tables import GROUPS, SMALL_SETS, Tables
from mmh_core.pocket.second.training import Workshop
from mmh_core.pocket.second.truth import WIDE, explained_by_cells
from mmh_core.records import Progress

_NONE = math.nan
#: Open images whose speed is timed and that are held out; their numbers are no network's.
_HELD_OUT_START, _HELD_OUT = 900_000_000, 200
_PERMUTATIONS = 20
#: LID* from which a painter's range counts as reaching "about 20".
ABOUT_TWENTY = 18.0


def check_second(
    config: SecondConfig,
    work: Path,
    *,
    device: torch.device,
    minutes: float | None = None,
    counts: ImageCounts | None = None,
    cause: Callable[[Inspection], FurtherFigures] | None = None,
) -> Iterator[Progress[Check]]:
    """Check the world, and what is built of it in `work`; every progress has the rows so far.

    What the networks show is measured item by item and kept in `work`; after `minutes` the check
    stops measuring, prints what there is, and the next one goes on behind it.
    `cause` measures the cause of copies.
    """
    shop = Workshop(config, work, device)
    rows: list[Row] = []
    inspection = Inspection(shop, counts)
    yield Progress(0.0, "Measuring networks", Check(()))
    causes = None if cause is None else cause(inspection)
    for label, done, of in inspection.run(minutes, causes):
        yield Progress(0.0, f"{label}: {done:,} of {of:,}", Check(()))
    parts: dict[str, Callable[[], list[Row]]] = {
        "Classifying captions by their words": lambda: text_rows(shop.tables),
        "Counting doses and groups": lambda: table_rows(shop.tables, shop.truth()),
        "Comparing LID* of captions": lambda: lid_rows(shop.tables, shop.truth()),
        "Timing the renderer": lambda: renderer_rows(shop),
        "Reconstructing held-out images": lambda: autoencoder_rows(shop),
        "Checking descriptor and CLIP": lambda: part_rows(
            shop, held_out_images(shop.tables, _HELD_OUT)
        ),
        "Counting what networks show": lambda: network_rows(inspection, causes),
    }
    for number, (label, measure) in enumerate(parts.items()):
        yield Progress(number / len(parts), label, Check(tuple(rows)))
        rows += measure()
    yield Progress(1.0, "Checked", Check(tuple(rows)))


def _counted(figure: str, value: float, count: int) -> Row:
    """Return a figure without interval and without bar."""
    return Row(figure, value, _NONE, _NONE, 0.0, "none", count)


def text_rows(tables: Tables) -> list[Row]:
    """Return how well words alone tell what is duplicated, and what the cause is."""
    captions = tables.captions
    trained = captions[captions.group == "trained"]
    yes, no = (trained[trained.repeated == side] for side in ("yes", "no"))
    small = captions[(captions.group == "small") & (captions.small_rank < SMALL_SETS[1])]
    rows = []
    for target, other in (("duplicated or not", no), ("duplicated or overfitted", small)):
        texts, labels = [*yes.text, *other.text], np.repeat([True, False], [len(yes), len(other)])
        count, highest = len(texts), 0.0
        for features, label in FEATURES.items():
            permutations = _PERMUTATIONS if features == "words" else 0
            baseline = text_baseline(texts, labels, features, permutations=permutations)
            figure = f"text alone, {target}: AUC of {label}"
            rows.append(either_way(figure, baseline.auc, baseline.low, baseline.high, count))
            highest = max(highest, rows[-1].high)
            if permutations:
                null = f"the same with labels permuted {permutations} times, 97.5 % quantile"
                rows.append(_counted(null, baseline.permuted[1], count))
        figure = f"text alone, {target}: greatest upper end of an interval"
        rows.append(Row(figure, highest, _NONE, _NONE, 0.65, "most", count))
    return rows


def either_way(figure: str, auc: float, low: float, high: float, count: int) -> Row:
    """Return the row of an AUC, turned round where it is below chance.

    Whoever wants the answer turns such a classifier round: names that stand equally often on both
    sides make the side of a caption that is left out the rarer one, which can be used.
    """
    if auc < 0.5:
        figure, auc, low, high = f"{figure}, turned round", 1 - auc, 1 - high, 1 - low
    return Row(figure, auc, low, high, 0.60, "most", count)


def table_rows(tables: Tables, truth: pd.DataFrame) -> list[Row]:
    """Return the counts of doses, sides and groups."""
    trained = tables.captions[tables.captions.group == "trained"]
    sides = trained.groupby(["repeated", "named"]).size()
    gap = float(abs(sides.get(("no", True), 0) - sides.get(("no", False), 0)))
    wide = trained.merge(truth[truth.lid >= WIDE], left_on="id", right_on="caption")
    measured = not wide.empty
    exact, near = wide[wide.role == "exact"], trained[trained.role == "near"]
    least = min(int((exact.copies == copies).sum()) for copies in COPIES) if measured else _NONE
    levels = near.groupby("transform").size()
    figure = f"least captions at a level of exact copies, LID* at least {WIDE:g}"
    return [
        Row(figure, least, _NONE, _NONE, 20.0, "least", len(exact)),
        Row(
            "copies by chance of these, mean share of the family",
            float(exact.chance.mean()) if measured else _NONE,
            _NONE, _NONE, 0.05, "most", len(exact),
        ),
        Row(
            "least captions at a level of near-duplicates",
            float(min(levels.get(name, 0) for name in TRANSFORMS)),
            _NONE, _NONE, 20.0, "least", len(near),
        ),
        Row(
            "captions not duplicated: with a name minus without, absolute",
            gap, _NONE, _NONE, 0.0, "most", len(trained),
        ),
        Row(
            "phrases and names of two captions or more that stand on one side only",
            float(len(_one_sided(tables))), _NONE, _NONE, 0.0, "most", len(trained),
        ),
        Row(
            "groups of captions without a calibration or a test half",
            float(_halves_missing(tables)), _NONE, _NONE, 0.0, "most", len(tables.captions),
        ),
        _counted("rows of the training table, copies counted",
                 float(tables.rows.copies.sum()), len(tables.rows)),
    ]  # fmt: skip


def _one_sided(tables: Tables) -> list[str]:
    marks: list[str] = []
    for painter in GRAMMARS:
        captions: list[GrammarCaption] = []
        doses: list[Dose] = []
        part = tables.captions[
            (tables.captions.group == "trained") & (tables.captions.painter == painter)
        ]
        for each in part.to_dict("records"):
            caption = tables.grammar[int(each["id"])]
            if caption is not None:
                captions.append(caption)
                doses.append(Dose(each["role"], int(each["copies"]), int(each["images"])))
        marks += one_sided(captions, doses)
    return marks


def _halves_missing(tables: Tables) -> int:
    halves = tables.captions.groupby("group").split.nunique()
    return sum(int(halves.get(group, 0)) < 2 for group in GROUPS)


def lid_rows(tables: Tables, truth: pd.DataFrame) -> list[Row]:
    """Return how LID* of the trained captions spreads within painters and roles."""
    trained = tables.captions[tables.captions.group == "trained"]
    table = trained.merge(truth, left_on="id", right_on="caption")
    if len(table) < len(trained):
        figure = "LID* of trained captions (run the stage world first)"
        return [Row(figure, _NONE, _NONE, _NONE, ABOUT_TWENTY, "least", len(table))]
    rows = []
    for painter, part in table.groupby("painter"):
        rows += [
            Row(f"LID* of {painter} captions: least", float(part.lid.min()),
                _NONE, _NONE, 0.0, "most", len(part)),
            Row(f"LID* of {painter} captions: greatest", float(part.lid.max()),
                _NONE, _NONE, ABOUT_TWENTY, "least", len(part)),
        ]  # fmt: skip
    cells = table.groupby(["painter", "role"]).lid
    rows += [
        _counted("least interquartile range of LID* in a cell of kind and painter",
                 float((cells.quantile(0.75) - cells.quantile(0.25)).min()), len(table)),
        _counted("share of LID*'s variance that a constant of each cell explains",
                 explained_by_cells(table), len(table)),
    ]  # fmt: skip
    return rows


def held_out_images(tables: Tables, count: int) -> np.ndarray:
    """Return open images that no network is trained on."""
    return draw_all([each.scene for each in open_images(tables, _HELD_OUT_START, count)])


def renderer_rows(shop: Workshop) -> list[Row]:
    """Return how many open images are rendered in a second, and how long the plan takes."""
    scenes = [each.scene for each in open_images(shop.tables, _HELD_OUT_START, _HELD_OUT)]
    start = time.perf_counter()
    draw_all(scenes)
    speed = len(scenes) / (time.perf_counter() - start)
    minutes = list(planned_minutes(shop.config).values())
    count = len(minutes)
    return [
        _counted("renderer, open images a second", speed, len(scenes)),
        Row("longest stage as planned, minutes of two idle cores", max(minutes) / TWO_CORES,
            _NONE, _NONE, STAGE_MINUTES, "most", count),
        Row("all stages as planned, two side by side, minutes", sum(minutes) / 2,
            _NONE, _NONE, ALL_MINUTES, "most", count),
    ]  # fmt: skip


def autoencoder_rows(shop: Workshop) -> list[Row]:
    """Return the error of reconstructions, once the autoencoder is built."""
    value = _NONE
    if shop.finished("autoencoder"):
        held_out = as_tensor(held_out_images(shop.tables, _HELD_OUT))
        value = psnr(shop.scaled_autoencoder(), held_out)
    name = "autoencoder on held-out images, PSNR in dB"
    return [Row(name, value, _NONE, _NONE, 26.0, "least", _HELD_OUT)]
