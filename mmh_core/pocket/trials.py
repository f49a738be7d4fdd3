"""Images generated for many captions, with the figures for calibration and check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from mmh_core.dimension.estimators import DEFAULT_ESTIMATOR
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.spectral import soft_spectral_count
from mmh_core.pocket.cast import random_style
from mmh_core.pocket.grammar import captions
from mmh_core.pocket.scenes import PAINTERS
from mmh_core.text_to_image.generation import generate
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling, Steering

#: Images generated in one batch, and those whose LID is estimated in one.
_DRAWN, _READ = 24, 12
MEMORIZED = ("duplicate", "template", "overfit")
#: Probes and steps of the soft spectral count.
EFFORT = Effort(probes=8, steps=5)


@dataclass(frozen=True)
class Trials:
    """Images generated for captions.

    `table` has one row per image: caption, kind, subject, seed. `latents` (B, 4, h, w) are the
    final ones, `images` (B, 3, H, W) what they decode to, `embeddings` (B, tokens, width) the
    captions', `guidance_norm` (B,) the norm at the first step.
    """

    table: pd.DataFrame
    latents: Tensor
    images: Tensor
    embeddings: Tensor
    guidance_norm: Tensor

    def rows(self, chosen: np.ndarray) -> Trials:
        """Return some of the images; `chosen` is a mask or row numbers."""
        index = torch.as_tensor(np.flatnonzero(chosen) if chosen.dtype == bool else chosen)
        return Trials(
            self.table.iloc[index.numpy()].reset_index(drop=True),
            self.latents[index],
            self.images[index],
            self.embeddings[index],
            self.guidance_norm[index],
        )


def open_captions(count: int, seed: int) -> pd.DataFrame:
    """Return captions of unnamed scenes, drawn like those trained on: caption, kind, subject."""
    rng = np.random.default_rng([seed, 3])
    names = list(PAINTERS)
    rows = []
    for i in range(count):
        painter = names[i % len(names)]
        texts = captions(painter, random_style(painter, rng), None)
        rows.append((texts[i % len(texts)], "open", f"open/{painter}"))
    return pd.DataFrame(rows, columns=["caption", "kind", "subject"])


def generate_trials(
    model: TextToImage,
    captions: pd.DataFrame,
    seeds: Sequence[int],
    *,
    guidance: float,
    steps: int,
) -> Trials:
    """Generate one image for each caption and seed by DDIM; `captions` has caption, kind, subject.

    Caption number c gets the seeds `s + 1000 c`, so that no two images start from equal noise.
    """
    table = pd.concat(
        [captions.assign(seed=[seed + 1000 * c for c in range(len(captions))]) for seed in seeds],
        ignore_index=True,
    )[["caption", "kind", "subject", "seed"]]
    embeddings = embedded(model, list(table.caption))
    latents, images, norms = [], [], []
    for start in range(0, len(table), _DRAWN):
        part = slice(start, start + _DRAWN)
        request = Request(
            prompt="",
            seeds=tuple(int(seed) for seed in table.seed[part]),
            steering=Steering(embedding=embeddings[part]),
            sampling=Sampling(
                steps=steps,
                guidance=guidance,
                height=model.image_size[0],
                width=model.image_size[1],
            ),
        )
        first, final = None, None
        for step in generate(model, request):
            first = step.guidance_norm if first is None else first
            final = step.latents
        if first is None or final is None:
            raise ValueError("The sampler made no step.")
        latents.append(final.float().cpu())
        images.append(torch.cat([model.decode(part).cpu() for part in torch.split(final, 8)]))
        norms.append(first.cpu())
    return Trials(table, torch.cat(latents), torch.cat(images), embeddings, torch.cat(norms))


def embedded(model: TextToImage, texts: Sequence[str]) -> Tensor:
    """Return the embeddings (B, tokens, width) of texts, each distinct one encoded once."""
    distinct = list(dict.fromkeys(texts))
    encoded = torch.cat([model.encode_text([text]) for text in distinct])
    numbers = {text: i for i, text in enumerate(distinct)}
    return encoded[[numbers[text] for text in texts]].cpu()


def lid_at(
    model: TextToImage,
    latents: Tensor,
    log_delta: float,
    *,
    prompts: Sequence[str],
    images: Tensor,
    effort: Effort = EFFORT,
) -> Tensor:
    """Return the soft spectral count (B,) of latents, each given its prompt.

    `images` (B, 3, H, W), uint8 or in [0, 1], are those of the latents: an image's probes are
    drawn from it, its prompt and the model, as everywhere, so that its LID is the same in any
    company.
    """
    own = probe_generators(model, DEFAULT_ESTIMATOR, prompts, images)
    embeddings = embedded(model, prompts)
    lids = []
    for start in range(0, len(latents), _READ):
        part = slice(start, start + _READ)
        estimate = soft_spectral_count(
            model.score_model,
            latents[part].to(model.device),
            log_delta,
            cond=embeddings[part].to(model.device),
            effort=effort,
            generator=own[part],
        )
        lids.append(estimate.lid.cpu())
    return torch.cat(lids)


def trial_lids(model: TextToImage, trials: Trials, log_delta: float) -> Tensor:
    """Return the LID (B,) of generated images, each given its caption."""
    prompts = [str(text) for text in trials.table.caption]
    return lid_at(model, trials.latents, log_delta, prompts=prompts, images=trials.images)
