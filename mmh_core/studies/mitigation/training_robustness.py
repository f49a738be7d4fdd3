"""What comes back of a small denoiser's copies: paraphrases, other seeds, and an attack."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from mmh_core.mitigations.interface import Work
from mmh_core.mitigations.lid_loss import generated_latents
from mmh_core.mitigations.retrigger import retriggered
from mmh_core.retrieval.copy_evidence import is_copy
from mmh_core.store.kept import load_kept, save_kept
from mmh_core.studies.images.generation import pixels_of
from mmh_core.studies.mitigation.robustness import PARAPHRASES, SEEDS
from mmh_core.studies.mitigation.training_run import (
    REFERENCE,
    CaptionCopies,
    TrainingMitigationConfig,
)
from mmh_core.subject.copy_search import find_copies
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request

_ATTACK_SEED, _OTHER_SEED = 90_000, 110_000


@dataclass(frozen=True)
class Returned:
    """How many images of each caption are copies: (caption, images, copies).

    Of memorized captions after the attack, of their paraphrases and from other seeds; and of
    reference captions after the attack, the control.
    """

    retriggered: tuple[CaptionCopies, ...] = ()
    rephrased: tuple[CaptionCopies, ...] = ()
    reseeded: tuple[CaptionCopies, ...] = ()
    control: tuple[CaptionCopies, ...] = ()


def _nowhere(caption: str) -> Path | None:
    return None


def network_robustness(
    config: TrainingMitigationConfig,
    model: TextToImage,
    latents: Tensor,
    captions: pd.DataFrame,
    training_set: TrainingSet,
    paraphrases: Mapping[str, tuple[str, ...]],
    kept: Callable[[str], Path | None] = _nowhere,
) -> Work[Returned]:
    """Return the copies of paraphrases, of other seeds and after an attack, and its control.

    `captions` have their group and the row of their training image among `latents`; of a reference
    caption only the attack is tried. `kept` returns the file in which the
    finished counts of a caption are kept, None where they are not.
    """
    sampling = replace(model.sampling, steps=config.sampling_steps)
    attacked = tuple(_ATTACK_SEED + i for i in range(config.seeds))
    others = tuple(_OTHER_SEED + i for i in range(SEEDS))
    returned = Returned()
    for row in captions.to_dict("records"):
        caption, aim = str(row["caption"]), latents[int(row["row"])].float()
        path = kept(caption)
        if (cached := load_kept(path, Returned)) is not None:
            returned = _joined(returned, cached)
            continue
        own = Returned()
        generator = torch.Generator().manual_seed(config.seed)
        request = Request(caption, attacked, sampling)
        attack = yield from retriggered(model, request, aim, generator=generator)
        images, copies = yield from _copies(model, training_set, [attack.request])
        after = (caption, images, copies)
        if row["group"] == REFERENCE:
            own = replace(own, control=(after,))
            save_kept(path, own)
            returned = _joined(returned, own)
            continue
        texts = [text for text in paraphrases.get(caption, ()) if text != caption][:PARAPHRASES]
        again = [replace(request, seeds=others)]
        reseeded = yield from _copies(model, training_set, again)
        rephrased = yield from _copies(
            model, training_set, [Request(text, others, sampling) for text in texts]
        )
        own = replace(
            own,
            retriggered=(after,),
            reseeded=((caption, *reseeded),),
            rephrased=((caption, *rephrased),) if texts else (),
        )
        save_kept(path, own)
        returned = _joined(returned, own)
    return returned


def _joined(first: Returned, other: Returned) -> Returned:
    return Returned(
        *((*getattr(first, each.name), *getattr(other, each.name)) for each in fields(Returned))
    )


def _copies(
    model: TextToImage, training_set: TrainingSet, requests: Sequence[Request]
) -> Work[tuple[int, int]]:
    """Generate requests; return the number of images, and of the copies among them."""
    images = copies = 0
    for request in requests:
        latents, _ = yield from generated_latents(model, request)
        evidence = find_copies(training_set, pixels_of(model, latents).float() / 255)
        images += len(evidence)
        copies += sum(is_copy(row.kind) for row, _ in evidence)
    return images, copies
