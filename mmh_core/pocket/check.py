"""The check of a built model: each measured figure beside its bar."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mmh_core.pocket.augmentations import AUGMENTATIONS
from mmh_core.pocket.autoencoder import psnr
from mmh_core.pocket.batches import as_tensor
from mmh_core.pocket.calibration import ImageCalibration, captions_of
from mmh_core.pocket.clip import embed_captions, embed_images, load_clip, recall_at_1
from mmh_core.pocket.descriptor import copy_auc, describe, load_descriptor
from mmh_core.pocket.figures import (
    SEED,
    Check,
    Row,
    copy_rows,
    generated_lid_rows,
    held_out_lid_row,
    paraphrase_rows,
    share,
)
from mmh_core.pocket.furnish import ShippedData, open_shipped_data
from mmh_core.pocket.tokenizer import load_tokenizer, token_ids
from mmh_core.pocket.trials import generate_trials, open_captions
from mmh_core.records import Progress
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request
from mmh_core.text_to_image.stable_diffusion import load

IMAGES = 4
_OPEN, _DESCRIBED = 26, 300


def check(
    folder: Path, chosen: ImageCalibration, *, device: torch.device
) -> Iterator[Progress[Check]]:
    """Check the model in a folder; every progress carries the figures known so far."""
    rows: list[Row] = []
    yield Progress(0.0, "Loading the model", Check(()))
    model, shipped = load(folder, device=device), open_shipped_data(folder)
    yield Progress(0.02, "Generating images of trained captions", Check(()))
    trials = generate_trials(
        model,
        pd.concat([captions_of(shipped.world.seed, None), open_captions(_OPEN, SEED)]),
        [SEED + i for i in range(IMAGES)],
        guidance=model.guidance,
        steps=model.steps,
    )
    rows += copy_rows(trials, shipped, chosen)
    yield Progress(0.3, "Generating images of paraphrases", Check(tuple(rows)))
    rows += paraphrase_rows(model, shipped, chosen)
    yield Progress(0.5, "Estimating LID of generated images", Check(tuple(rows)))
    rows += generated_lid_rows(model, trials, shipped, chosen)
    yield Progress(0.8, "Estimating LID of held-out images", Check(tuple(rows)))
    rows.append(held_out_lid_row(model, shipped, chosen))
    yield Progress(0.9, "Checking autoencoder, descriptor and CLIP", Check(tuple(rows)))
    rows.append(_autoencoder(model, shipped))
    rows.append(_descriptor(folder, shipped))
    rows.append(_clip(folder, shipped))
    yield Progress(0.97, "Timing four images", Check(tuple(rows)))
    rows.append(_seconds(model))
    yield Progress(1.0, "Checked", Check(tuple(rows)))


_NONE = float("nan")


def _autoencoder(model: TextToImage, shipped: ShippedData) -> Row:
    held = as_tensor(shipped.world.held_out)
    value = psnr(model.autoencoder, held)
    name = "autoencoder on held-out images, PSNR in dB"
    return Row(name, value, _NONE, _NONE, 26.0, "least", len(held))


def _descriptor(folder: Path, shipped: ShippedData) -> Row:
    """Return the worst AUC over the augmentations: copy against another held-out image."""
    net = load_descriptor(folder / "descriptor")
    held = as_tensor(shipped.world.held_out)
    every = max(1, len(held) // _DESCRIBED)
    images = held[::every].float() / 255
    generator = torch.Generator().manual_seed(SEED)
    originals = describe(net, images)
    aucs = {
        name: copy_auc(describe(net, change(images, generator)), originals)
        for name, change in AUGMENTATIONS.items()
    }
    worst = min(aucs, key=lambda name: aucs[name])
    name = f"copy descriptor under {', '.join(aucs)}: least AUC ({worst})"
    return Row(name, aucs[worst], _NONE, _NONE, 0.98, "least", len(images))


def _clip(folder: Path, shipped: ShippedData) -> Row:
    clip = load_clip(folder)
    labels = shipped.world.held_out_labels
    tokenizer = load_tokenizer(folder / "tokenizer")
    ids = token_ids(tokenizer, [texts[0] for texts in labels.captions])
    keys = {key: i for i, key in enumerate(dict.fromkeys(labels.content))}
    value = recall_at_1(
        embed_images(clip, as_tensor(shipped.world.held_out)),
        embed_captions(clip, ids),
        torch.tensor([keys[key] for key in labels.content]),
        among=50,
        generator=torch.Generator().manual_seed(SEED),
    )
    hits = np.arange(len(labels)) < round(value * len(labels))
    return share("tiny CLIP: held-out caption among 50, recall at 1", hits, 0.8, "least")


def _seconds(model: TextToImage) -> Row:
    request = Request("portrait of a person", (0, 1, 2, 3), model.sampling)
    times = []
    for _ in range(4):
        start = time.perf_counter()
        generate_images(model, request)
        times.append(time.perf_counter() - start)
    threads = torch.get_num_threads()
    name = f"four images, {model.steps} steps, {threads} thread{'s' * (threads > 1)}, seconds"
    return Row(name, float(np.median(times[1:])), min(times), max(times), 6.0, "most", 3)
