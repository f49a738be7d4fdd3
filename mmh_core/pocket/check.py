"""Measure what a build of the embedded model must show: each figure beside its bar."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmh_core.pocket.augmentations import AUGMENTATIONS
from mmh_core.pocket.autoencoder import psnr
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.calibration import (
    Calibration,
    area_under_curve,
    captions_of,
    held_out_latents,
    held_out_sample,
    rank_correlation,
    read_calibration,
)
from mmh_core.pocket.clip import embed_captions, embed_pictures, load_clip, recall_at_1
from mmh_core.pocket.descriptor import copy_auc, describe, load_descriptor
from mmh_core.pocket.furnish import PocketShelf, open_shelf
from mmh_core.pocket.tokenizer import load_tokenizer, token_ids
from mmh_core.pocket.trials import MEMORIZED, Trials, draw_trials, lid_at, open_captions
from mmh_core.pocket.world import prompts
from mmh_core.records import Progress
from mmh_core.retrieval.copy_evidence import CopyEvidence, copy_evidence
from mmh_core.text_to_image.generation import draw
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request
from mmh_core.text_to_image.stable_diffusion import load

PICTURES = 4
_OPEN, _HELD_OUT, _DESCRIBED = 26, 150, 300
#: Seeds of the check; calibration uses others, and no picture was looked at before.
_SEED = 700_000


@dataclass(frozen=True)
class Row:
    """Hold one figure: its value with a 95 % interval, the bar and how many it was counted on.

    `bound` is "least", "most" or "none" (reported without a bar); NaN stands for no interval.
    """

    figure: str
    value: float
    low: float
    high: float
    bar: float
    bound: Literal["least", "most", "none"]
    count: int

    @property
    def short(self) -> bool:
        """Return whether the bar is missed."""
        if self.bound == "least":
            return not self.value >= self.bar
        return self.bound == "most" and not self.value <= self.bar


@dataclass(frozen=True)
class Check:
    """Hold all figures of a check as far as they are known."""

    rows: tuple[Row, ...]

    @property
    def short(self) -> tuple[Row, ...]:
        """Return the rows whose bar is missed."""
        return tuple(row for row in self.rows if row.short)

    def frame(self) -> pd.DataFrame:
        """Return one row per figure."""
        return pd.DataFrame([asdict(row) for row in self.rows])


def check(folder: Path, *, device: torch.device) -> Iterator[Progress[Check]]:
    """Check the model in a folder; every progress carries the figures known so far."""
    rows: list[Row] = []
    yield Progress(0.0, "Loading the model", Check(()))
    model, shelf, chosen = (
        load(folder, device=device),
        open_shelf(folder),
        read_calibration(folder),
    )
    yield Progress(0.02, "Drawing pictures of trained captions", Check(()))
    trials = draw_trials(
        model,
        pd.concat([captions_of(shelf.world.seed, None), open_captions(_OPEN, _SEED)]),
        [_SEED + i for i in range(PICTURES)],
        guidance=model.guidance,
        steps=model.steps,
    )
    rows += _copies(trials, shelf, chosen)
    yield Progress(0.3, "Drawing pictures of paraphrases", Check(tuple(rows)))
    rows += _paraphrases(model, shelf, chosen)
    yield Progress(0.5, "Reading LID of what was drawn", Check(tuple(rows)))
    rows += _generated_lid(model, trials, shelf, chosen)
    yield Progress(0.8, "Reading LID of held-out pictures", Check(tuple(rows)))
    rows.append(_held_out_lid(model, shelf, chosen))
    yield Progress(0.9, "Checking autoencoder, descriptor and CLIP", Check(tuple(rows)))
    rows.append(_autoencoder(model, shelf))
    rows.append(_descriptor(folder, shelf))
    rows.append(_clip(folder, shelf))
    yield Progress(0.97, "Timing four pictures", Check(tuple(rows)))
    rows.append(_seconds(model))
    yield Progress(1.0, "Checked", Check(tuple(rows)))


def share(
    figure: str, hits: np.ndarray, bar: float, bound: Literal["least", "most", "none"]
) -> Row:
    """Return a share of hits with Wilson's 95 % interval.

    Caveat: pictures of one caption are not independent, so the true interval is wider.
    """
    from scipy.stats import binomtest

    interval = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    value = float(hits.mean())
    return Row(figure, value, float(interval.low), float(interval.high), bar, bound, len(hits))


def bootstrapped(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % interval of a figure's resampled values."""
    low, high = np.quantile(np.asarray(values), (0.025, 0.975))
    return float(low), float(high)


def _evidence(trials: Trials, shelf: PocketShelf, chosen: Calibration) -> CopyEvidence:
    return copy_evidence(trials.pictures, shelf.embedder, shelf.training, chosen.thresholds)


def _subjects(found: CopyEvidence, shelf: PocketShelf) -> np.ndarray:
    """Return the subject of the training picture that each picture was found nearest to."""
    exact = np.asarray(found.kind) == "exact"
    ids = np.where(exact, found.pixel_nearest.numpy(), found.nearest.numpy())
    subjects: np.ndarray = shelf.world.labels.subject.to_numpy()[ids]
    return subjects


def _copies(trials: Trials, shelf: PocketShelf, chosen: Calibration) -> list[Row]:
    found = _evidence(trials, shelf, chosen)
    kinds, own = np.asarray(found.kind), _subjects(found, shelf) == trials.table.subject.to_numpy()
    of = trials.table.kind.to_numpy()
    exact = own & (kinds == "exact")
    rows = [
        share(
            "duplicate and overfit captions: copies of their own training picture",
            exact[np.isin(of, ("duplicate", "overfit"))],
            0.90,
            "least",
        )
    ]
    rows += [
        share(f"of these, {kind}", exact[of == kind], 0.90, "none")
        for kind in ("duplicate", "overfit")
    ]
    rows.append(
        share(
            "template captions: the template's layout",
            (own & (kinds != "none"))[of == "template"],
            0.90,
            "least",
        )
    )
    rows.append(
        share(
            "open and varied captions: copies of anything",
            (kinds == "exact")[np.isin(of, ("open", "varied"))],
            0.03,
            "most",
        )
    )
    rows.append(
        share(
            "of these, layouts shared with a training picture",
            (kinds == "template")[np.isin(of, ("open", "varied"))],
            0.03,
            "none",
        )
    )
    return rows


def _paraphrases(model: TextToImage, shelf: PocketShelf, chosen: Calibration) -> list[Row]:
    table = prompts(shelf.world.seed)
    table = table[~table.trained][["caption", "kind", "subject"]]
    trials = draw_trials(model, table, [_SEED], guidance=model.guidance, steps=model.steps)
    found = _evidence(trials, shelf, chosen)
    own = _subjects(found, shelf) == trials.table.subject.to_numpy()
    hits = own & (np.asarray(found.kind) != "none")
    of = trials.table.kind.to_numpy()
    return [
        share(f"paraphrases of {kind} captions: copies", hits[of == kind], 0.0, "none")
        for kind in MEMORIZED
    ]


def _generated_lid(
    model: TextToImage, trials: Trials, shelf: PocketShelf, chosen: Calibration
) -> list[Row]:
    """Read conditional LID on the half of the captions that calibration has not seen."""
    test = set(captions_of(shelf.world.seed, "test").subject)
    kept = trials.rows(
        (trials.table.subject.isin(test) | (trials.table.kind == "open")).to_numpy()
    )
    lid = lid_at(model, kept.latents, kept.embeddings, chosen.log_delta, seed=_SEED)
    of = kept.table.kind.to_numpy()
    memorized = np.isin(of, MEMORIZED)
    rng = np.random.default_rng(0)
    resampled = []
    captions = kept.table.caption.to_numpy()
    names = np.unique(captions)
    rows_of = {name: np.flatnonzero(captions == name) for name in names}
    for _ in range(500):
        # Whole captions are drawn, since pictures of one caption are alike.
        rows = np.concatenate([rows_of[name] for name in rng.choice(names, len(names))])
        resampled.append(area_under_curve(-lid[rows], memorized[rows]))
    figures = [
        Row(
            "conditional LID, memorized against varied and open captions, AUC",
            area_under_curve(-lid, memorized),
            *bootstrapped(resampled),
            0.95,
            "least",
            len(lid),
        )
    ]
    medians = {kind: _median(lid[torch.from_numpy(of == kind)]) for kind in np.unique(of)}
    bars: dict[str, tuple[float, Literal["least", "most", "none"]]] = {
        "duplicate": (3.0, "most"),
        "template": (medians["duplicate"][0], "least"),
        "overfit": (medians["duplicate"][0], "none"),
        "varied": (medians["template"][0], "none"),
        "open": (medians["template"][0], "least"),
    }
    for kind, (bar, bound) in bars.items():
        value, low, high, count = medians[kind]
        figures.append(Row(f"median conditional LID, {kind}", value, low, high, bar, bound, count))
    return figures


def _median(lid: Tensor) -> tuple[float, float, float, int]:
    rng = np.random.default_rng(0)
    values = lid.numpy()
    medians = [np.median(rng.choice(values, len(values))) for _ in range(500)]
    return (float(np.median(values)), *bootstrapped(medians), len(values))


def _held_out_lid(model: TextToImage, shelf: PocketShelf, chosen: Calibration) -> Row:
    rows, true = held_out_sample(shelf.world, parity=1, count=_HELD_OUT)
    latents, embeddings = held_out_latents(model, shelf.world, rows)
    lid = lid_at(model, latents, embeddings, chosen.log_delta, seed=_SEED)
    rng = np.random.default_rng(0)
    resampled = []
    for _ in range(500):
        picked = rng.integers(len(lid), size=len(lid))
        resampled.append(rank_correlation(lid[picked], true[picked]))
    return Row(
        "held-out pictures: rank correlation of LID with LID_*",
        rank_correlation(lid, true),
        *bootstrapped(resampled),
        0.7,
        "least",
        len(lid),
    )


_NONE = float("nan")


def _autoencoder(model: TextToImage, shelf: PocketShelf) -> Row:
    held = as_tensor(shelf.world.held_out)
    value = psnr(model.autoencoder, held)
    name = "autoencoder on held-out pictures, PSNR in dB"
    return Row(name, value, _NONE, _NONE, 26.0, "least", len(held))


def _descriptor(folder: Path, shelf: PocketShelf) -> Row:
    """Return the worst AUC over the augmentations: copy against another held-out picture."""
    net = load_descriptor(folder / "descriptor")
    held = as_tensor(shelf.world.held_out)
    every = max(1, len(held) // _DESCRIBED)
    pictures = held[::every].float() / 255
    generator = torch.Generator().manual_seed(_SEED)
    originals = describe(net, pictures)
    found = {
        name: copy_auc(describe(net, change(pictures, generator)), originals)
        for name, change in AUGMENTATIONS.items()
    }
    worst = min(found, key=lambda name: found[name])
    name = f"copy descriptor under {', '.join(found)}: least AUC ({worst})"
    return Row(name, found[worst], _NONE, _NONE, 0.98, "least", len(pictures))


def _clip(folder: Path, shelf: PocketShelf) -> Row:
    clip = load_clip(folder)
    labels = shelf.world.held_out_labels
    tokenizer = load_tokenizer(folder / "tokenizer")
    ids = token_ids(tokenizer, [texts[0] for texts in labels.captions])
    keys = {key: i for i, key in enumerate(dict.fromkeys(labels.content))}
    value = recall_at_1(
        embed_pictures(clip, as_tensor(shelf.world.held_out)),
        embed_captions(clip, ids),
        torch.tensor([keys[key] for key in labels.content]),
        among=50,
        generator=torch.Generator().manual_seed(_SEED),
    )
    hits = np.arange(len(labels)) < round(value * len(labels))
    return share("tiny CLIP: held-out caption among 50, recall at 1", hits, 0.8, "least")


def _seconds(model: TextToImage) -> Row:
    height, width = model.picture_size
    request = Request(
        "portrait of a person", (0, 1, 2, 3), model.steps, model.guidance, height, width
    )
    times = []
    for _ in range(4):
        start = time.perf_counter()
        draw(model, request)
        times.append(time.perf_counter() - start)
    name = f"four pictures, {model.steps} steps, {torch.get_num_threads()} threads, seconds"
    return Row(name, float(np.median(times[1:])), min(times), max(times), 6.0, "most", 3)
