"""The cause of copies by networks of the second world whose cause is known by construction.

The denoiser of the whole set copies what is duplicated (the data), those of the small sets copy
images that they saw once each (overfitting), and `small-duplicates` copies images that are
duplicated in a small set (both). One calibration is made of all their copies together.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from mmh_core.detectors.catalogue import DETECTORS, adapted
from mmh_core.memorization.cause import (
    BOTH,
    CAUSES,
    DATA,
    OVERFITTING,
    UNIDENTIFIED,
    CauseLabel,
    ModelLids,
    TrainingNeighborhood,
    cause_of,
    clearly_below,
)
from mmh_core.memorization.cause_calibration import CauseCalibration, CauseCase, calibrate_cause
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.figures import Row
from mmh_core.pocket.second.inspection import Inspection
from mmh_core.pocket.second.kept import KeptMeasurement, Record
from mmh_core.pocket.second.networks import open_network
from mmh_core.pocket.second.plan import DENOISERS, SMALL_STAGES
from mmh_core.pocket.second.sets import ROW, draw_entries, searched_entries
from mmh_core.pocket.second.truth import wide_captions
from mmh_core.records import LabelledPrompt
from mmh_core.retrieval.embedders import embed_all
from mmh_core.retrieval.index import build_index
from mmh_core.retrieval.training_images import training_images
from mmh_core.statistics.agreement import clustered_balanced_accuracy
from mmh_core.statistics.intervals import Interval, mean_share_interval
from mmh_core.studies.detection.causes import LID, cause_cases
from mmh_core.studies.detection.measured import Measured, measured
from mmh_core.subject.reference_prompts import median_lid
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage

#: The networks whose copies have a known cause.
STAGES = (DENOISERS[0], *SMALL_STAGES)
_NONE = math.nan
FIGURE = "cause from the training set and the model, balanced accuracy"
BASELINE = "the same by repetitions in the training set alone"
NETWORK_BASELINE = "the same by repetitions and the network's LID on reference prompts alone"
#: Groups of captions, each with the cause that is true of its copies.
EXACT, NEAR, TEMPLATE = "exact duplicates", "near-duplicates", "templates"
UNIQUE, SMALL = "unique images", "exact duplicates in a small set"
TRUTHS: dict[str, CauseLabel] = {
    EXACT: DATA, NEAR: DATA, TEMPLATE: DATA, UNIQUE: OVERFITTING, SMALL: BOTH,
}  # fmt: skip


@dataclass(frozen=True)
class CauseCounts:
    """How much is measured: `captions` of each group and half by each network, with `seeds`
    images each, and `references` reference captions of each network.
    """

    captions: int = 24
    seeds: int = 4
    references: int = 24


@dataclass(frozen=True)
class NetworkCase:
    """A copy by a network: its network, caption and group, with the evidence and the truth."""

    network: str
    caption: int
    group: str
    case: CauseCase


class NetworkCauses:
    """Measurements and figures of the cause, over the networks that are finished."""

    def __init__(self, inspection: Inspection, counts: CauseCounts | None = None) -> None:
        """Take the inspection of a build, and how much is measured."""
        self.inspection = inspection
        self.counts = CauseCounts() if counts is None else counts
        finished = inspection.shop.finished
        self.networks = tuple(stage for stage in STAGES if finished(stage))
        self._opened: tuple[str, TextToImage, TrainingSet] | None = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Return the networks that are not trained yet."""
        return tuple(stage for stage in STAGES if stage not in self.networks)

    # --- measurements -------------------------------------------------------------------------

    def measurements(self) -> Iterator[KeptMeasurement]:
        """Yield what is measured of each network, once the noise scale is chosen."""
        if math.isnan(self.inspection.log_delta):
            return
        for stage in self.networks:
            yield self.references(stage)
            yield self.copies(stage)

    def references(self, stage: str) -> KeptMeasurement:
        """Return the LID of a network on captions that it was not trained with."""
        captions = reference_captions(self.inspection, self.counts.references)

        def measure(item: str) -> list[Record]:
            model, _ = self._network(stage)
            half = self._measured(model, str(self._texts[int(item)]), None)
            lids = half.found[LID].values[:, 0].tolist()
            return [{"caption": int(item), "lid": lid} for lid in lids]

        label = f"Estimating LID of reference prompts, {stage}"
        return KeptMeasurement(label, self._folder("references", stage), captions, measure)

    def copies(self, stage: str) -> KeptMeasurement:
        """Return the evidence on what a network copies, one record of each caption."""
        groups = caption_groups(self.inspection, stage, self.counts.captions)
        items = tuple(str(caption) for numbers in groups.values() for caption in numbers)
        group_of = {caption: group for group, part in groups.items() for caption in part}

        def measure(item: str) -> list[Record]:
            return [self._record(stage, int(item), group_of[int(item)])]

        label = f"Looking for the cause of copies, {stage}"
        return KeptMeasurement(label, self._folder("causes", stage), items, measure)

    def _record(self, stage: str, caption: int, group: str) -> Record:
        model, training_set = self._network(stage)
        text = str(self._texts[caption])
        half = self._measured(model, text, training_set)
        prompt = LabelledPrompt(text, True, group, "test", cause=TRUTHS[group])
        record: dict[str, object] = {"caption": caption, "group": group, "copied": False}
        for _, case in cause_cases([prompt], half, training_set, None):
            record |= {"copied": True, **kept_evidence(case)}
        return record

    def _measured(self, model: TextToImage, text: str, searched: TrainingSet | None) -> Measured:
        log_delta = self.inspection.log_delta
        detectors = adapted({LID: DETECTORS[LID]}, log_delta=log_delta, embedder="pixels")
        seeds = tuple(range(self.counts.seeds))
        [*_, half] = measured(model, [text], detectors, seeds, searched)
        return half

    def _network(self, stage: str) -> tuple[TextToImage, TrainingSet]:
        """Return a network with what it was trained on; one is kept open."""
        if self._opened is None or self._opened[0] != stage:
            model = open_network(self.inspection.shop, stage)
            self._opened = (stage, model, network_training_set(self.inspection, stage))
        return self._opened[1:]

    @cached_property
    def _texts(self) -> list[str]:
        return [str(text) for text in self.inspection.shop.tables.captions.text]

    def _folder(self, name: str, stage: str) -> Path:
        settings = (self.counts, self.inspection.scale_settings)
        return self.inspection.folder(name, ("descriptor", DENOISERS[0], stage), settings)

    # --- figures ------------------------------------------------------------------------------

    def cases(self, split: str) -> list[NetworkCase]:
        """Return what is measured of the copies of one half of the captions, all networks."""
        splits = self.inspection.shop.tables.captions.split
        cases = []
        for stage in self.networks:
            table = self.copies(stage).table()
            if table.empty or not table.copied.any():
                continue
            records = self.references(stage).table().to_dict("records")
            elsewhere = median_lid((one["caption"], float(one["lid"])) for one in records)
            rows = table[table.copied & (splits.loc[table.caption] == split).to_numpy()]
            cases += [
                NetworkCase(stage, row["caption"], row["group"], _case(row, elsewhere))
                for row in rows.to_dict("records")
            ]
        return cases

    def calibration(self) -> CauseCalibration | None:
        """Return the calibration by the copies of all networks, None without any."""
        if math.isnan(self.inspection.log_delta):
            return None
        cases = [each.case for each in self.cases("calibration")]
        return calibrate_cause(cases) if cases else None

    def rows(self) -> list[Row]:
        """Return the demand beside its bar, then its parts; it has no value before all is there.

        On the test half. The interval is over captions, which several networks may copy.
        """
        chosen = not math.isnan(self.inspection.log_delta)
        cases = self.cases("test") if chosen else []
        complete = chosen and not self.missing and all(m.complete for m in self.measurements())
        return [*accuracy_rows(cases, complete), self._networks_row()]

    def _networks_row(self) -> Row:
        figure = "networks of known cause"
        if self.missing:
            figure += f" (missing: {', '.join(self.missing)})"
        built = len(self.networks)
        return Row(figure, float(built), _NONE, _NONE, float(len(STAGES)), "least", built)


def accuracy_rows(cases: Sequence[NetworkCase], complete: bool) -> list[Row]:
    """Return the balanced accuracy of the cause over the groups, each group, and each network.

    Beside it stands what repetitions in the training set say alone (data where an image is
    repeated, else overfitting), and with one LID of each network: both where an image is repeated
    and the LID of reference prompts is below the usual data LID. The intervals are over captions,
    of these networks: `BOTH` and `DATA` are true of one network each. Without a training set every
    cause has to be called not identifiable.
    """
    right = torch.tensor(
        [cause_of(each.case.model, each.case.data).label == each.case.truth for each in cases],
        dtype=torch.bool,
    )
    groups, captions = [each.group for each in cases], [each.caption for each in cases]
    value = clustered_balanced_accuracy(right, groups, captions)
    by_count = torch.tensor(
        [(DATA if each.case.data.repeated else OVERFITTING) == each.case.truth for each in cases],
        dtype=torch.bool,
    )
    by_network = torch.tensor([_simple(each.case) == each.case.truth for each in cases]).bool()
    # Every group that is asked for has to have been copied.
    whole = complete and set(groups) == set(TRUTHS)
    count = len(cases)
    rows = [
        Row(FIGURE, *_ends(value, whole), 0.9, "least", count),
    ]
    for figure, hits in ((BASELINE, by_count), (NETWORK_BASELINE, by_network)):
        ends = _ends(clustered_balanced_accuracy(hits, groups, captions), whole)
        rows.append(Row(figure, *ends, 0.0, "none", count))
    for group in TRUTHS:
        rows.append(_part(f"of these, {group}", cases, right, [g == group for g in groups]))
    for stage in dict.fromkeys(each.network for each in cases):
        chosen = [each.network == stage for each in cases]
        rows.append(_part(f"of these, copies by {stage}", cases, right, chosen))
    alone = [cause_of(each.case.model, None).label == UNIDENTIFIED for each in cases]
    share = sum(alone) / len(alone) if alone else _NONE
    figure = "cause without a training set: not identifiable"
    rows.append(Row(figure, share, _NONE, _NONE, 1.0, "least", len(alone)))
    return rows


def _simple(case: CauseCase) -> CauseLabel:
    """Return the cause by repetitions and the network's LID on reference prompts alone."""
    overfitted = clearly_below(case.model.elsewhere, case.data.usual)
    if not case.data.repeated:
        return OVERFITTING
    return BOTH if overfitted else DATA


def _ends(interval: Interval, whole: bool) -> tuple[float, float, float]:
    """Return value and ends, NaN where what it is of is not measured as a whole."""
    return (interval.value, interval.low, interval.high) if whole else (_NONE, _NONE, _NONE)


def _part(
    figure: str, cases: Sequence[NetworkCase], right: torch.Tensor, chosen: list[bool]
) -> Row:
    """Return the share of some cases that is right, its interval over captions."""
    captions: dict[int, list[bool]] = {}
    for each, hit, taken in zip(cases, right.tolist(), chosen, strict=True):
        if taken:
            captions.setdefault(each.caption, []).append(hit)
    shares = torch.tensor([sum(hits) / len(hits) for hits in captions.values()])
    return Row(figure, *_ends(mean_share_interval(shares), True), 0.0, "none", sum(chosen))


def caption_groups(inspection: Inspection, stage: str, most: int) -> dict[str, list[int]]:
    """Return the captions of a network by group, at most so many of each group and half.

    Those whose images differ widely, so that a copy is no chance; in an order that is random.
    """
    captions, truth = inspection.shop.tables.captions, inspection.shop.truth()
    wide = captions[captions.id.isin(wide_captions(truth))]
    groups: dict[str, pd.DataFrame]
    if stage == DENOISERS[0]:
        inside = inspection.shop.tables.rows.caption.iloc[: inspection.shop.config.rows]
        wide = wide[(wide.group == "trained") & wide.id.isin(inside)]
        yes = wide[wide.repeated == "yes"]
        groups = {
            EXACT: yes[yes.role == "exact"],
            NEAR: yes[yes.role == "near"],
            TEMPLATE: yes[yes.role == "template"],
            UNIQUE: wide[(wide.role == "exact") & (wide.copies == 1)],
        }
    else:
        numbers, copies = searched_entries(inspection.shop.tables, inspection.shop.config, stage)
        small = numbers.kind != ROW
        often = dict(zip(numbers.caption[small].tolist(), copies[small].tolist(), strict=True))
        times = wide.id.map(often)
        groups = {UNIQUE: wide[times == 1], SMALL: wide[times > 1]}
    order = np.random.default_rng([inspection.shop.tables.seed, 33]).permutation(len(captions))
    chosen: dict[str, list[int]] = {}
    for name, part in groups.items():
        if part.empty:
            continue
        mixed = part.iloc[np.argsort(order[part.id.to_numpy()])]
        halves = mixed.groupby("split", sort=True).head(most)
        chosen[name] = [int(number) for number in halves.id]
    return chosen


def reference_captions(inspection: Inspection, most: int) -> tuple[str, ...]:
    """Return wide captions of the calibration half that no network was trained to copy.

    Held out, or with images drawn anew for every row.
    """
    captions, truth = inspection.shop.tables.captions, inspection.shop.truth()
    wide = captions.id.isin(wide_captions(truth))
    apart = (captions.group == "held-out") | (captions.role == "fresh")
    chosen = captions[wide & apart & (captions.split == "calibration")].id.to_numpy()
    rng = np.random.default_rng([inspection.shop.tables.seed, 34])
    return tuple(str(number) for number in rng.permutation(chosen)[:most])


def network_training_set(inspection: Inspection, stage: str) -> TrainingSet:
    """Return the images that a network was trained with, as they are searched for copies.

    Open and fresh images are not among them: they are drawn anew without end.
    """
    shop = inspection.shop
    entries, copies = searched_entries(shop.tables, shop.config, stage)
    pixels = as_tensor(draw_entries(shop.tables, entries))
    embedder = inspection.rows.embedder
    labels = pd.DataFrame(
        {
            "id": np.arange(len(entries)),
            "caption": list(entries.texts),
            "file": [f"{number}" for number in range(len(entries))],
            "copies": copies.astype(np.int64),
        }
    )
    index = build_index(embed_all(embedder, pixels), labels, embedder)
    return TrainingSet(
        stage,
        index,
        embedder,
        lambda row: pixels[int(index.ids[row])].contiguous(),
        training_images(pixels, index),
        inspection.thresholds,
    )


_INTERVALS = ("lid", "data_lid", "usual")


def kept_evidence(case: CauseCase) -> dict[str, object]:
    """Return the evidence of a case as what JSON keeps."""
    data = case.data
    kept: dict[str, object] = {
        "truth": case.truth,
        "copies": data.multiplicity,
        "near_duplicates": data.near_duplicates,
        "usual_copies": data.usual_multiplicity,
    }
    for name, value in zip(_INTERVALS, (case.model.lid, data.lid, data.usual), strict=True):
        kept |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
    return kept


def _case(record: dict[Any, Any], elsewhere: Interval) -> CauseCase:
    """Return a case from its record, with the network's LID on reference prompts."""
    lid, data_lid, usual = (
        Interval(*(float(record[f"{name}{end}"]) for end in ("", "_low", "_high")))
        for name in _INTERVALS
    )
    data = TrainingNeighborhood(
        int(record["copies"]),
        int(record["near_duplicates"]),
        data_lid,
        float(record["usual_copies"]),
        usual,
    )
    [truth] = [cause for cause in CAUSES if cause == record["truth"]]
    return CauseCase(ModelLids(lid, elsewhere), data, truth)
