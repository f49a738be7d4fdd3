"""Draw and study prompts of the embedded world for the queue that the app opens with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mmh_core.records import Progress
from mmh_core.store.review_records import ReviewItem
from mmh_core.studies.early_scan import read_early, score_prompts
from mmh_core.studies.image import image_study
from mmh_core.studies.image_examples import PromptExample, pocket_examples
from mmh_core.studies.image_reference import pocket_reference
from mmh_core.studies.image_run import ImageConfig
from mmh_core.studies.normal_prompts import read_normal
from mmh_core.studies.review_items import run_item
from mmh_core.text_to_image.model import TextToImage

NAME = "Demonstration: prompts of the embedded model"
SEEDS = (0, 1, 2, 3)
#: Subjects of each kind, and how many of them are asked for in a paraphrase too.
SUBJECTS, PARAPHRASES = 9, 3


def demonstration_prompts(folder: Path) -> list[PromptExample]:
    """Return prompts of every kind of the calibration half: trained ones, and some paraphrases."""
    found: list[PromptExample] = []
    known = pocket_examples(folder)
    for kind in dict.fromkeys(one.kind for one in known):
        mine = [one for one in known if one.kind == kind]
        first = {one.subject: one for one in reversed(mine) if one.trained}
        subjects = [one.subject for one in mine if one.subject in first]
        chosen = list(dict.fromkeys(subjects))[:SUBJECTS]
        found += [first[subject] for subject in chosen]
        others = {one.subject: one for one in reversed(mine) if not one.trained}
        found += [others[subject] for subject in chosen if subject in others][:PARAPHRASES]
    return found


def demonstration_items(model: TextToImage, folder: Path) -> Iterator[Progress[list[ReviewItem]]]:
    """Study the prompts; the last progress has all items, the most suspicious ones first.

    The score is that of the early scan where the folder has its calibration. Labels do not say
    what is known of a prompt: a reviewer is to find out.
    """
    reference, normal, early = pocket_reference(folder), read_normal(folder), read_early(folder)
    prompts = demonstration_prompts(folder)
    height, width = model.picture_size
    items: list[ReviewItem] = []
    for number, one in enumerate(prompts, start=1):
        config = ImageConfig(
            model.name,
            (one.caption,),
            SEEDS,
            model.steps,
            model.guidance,
            height,
            width,
            curve=False,
            frames=0,
        )
        *_, last = image_study(config, model, reference, normal)
        item = run_item(last.partial)
        if early is not None:
            score = float(score_prompts(model, early, [one.caption]).score[0])
            item = replace(item, score=score)
        items.append(replace(item, label="" if one.trained else "paraphrase"))
        done = sorted(items, key=lambda item: (item.lid_percentile, -item.similarity))
        yield Progress(number / len(prompts), f"Studied {number} of {len(prompts)} prompts", done)
