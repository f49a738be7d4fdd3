"""Items of the shipped world for the queue that the app opens with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from mmh_core.formats.export import csv_bytes
from mmh_core.records import Progress
from mmh_core.store.archive import save_record
from mmh_core.store.review_records import ReviewItem
from mmh_core.store.run_files import file_sha256
from mmh_core.studies.images.examples import PromptExample, pocket_examples
from mmh_core.studies.images.kept_run import kept_image_run
from mmh_core.studies.images.run import ImageConfig
from mmh_core.studies.review.items import run_item
from mmh_core.subject.early_calibration import score_prompts
from mmh_core.subject.subject import Subject

NAME = "Demonstration: prompts of the shipped model"
SEEDS = (0, 1, 2, 3)
#: Subjects of each kind, and how many of them are asked for in a paraphrase too.
SUBJECTS, PARAPHRASES = 9, 3
#: Prompts of each kind whose full study is kept, a quarter of a megabyte each.
KEPT = 2


def demonstration_prompts(folder: Path) -> list[PromptExample]:
    """Return prompts of every kind of the calibration half: trained ones, and some paraphrases."""
    demonstration: list[PromptExample] = []
    examples = pocket_examples(folder)
    for kind in dict.fromkeys(example.kind for example in examples):
        of_kind = [example for example in examples if example.kind == kind]
        first = {example.subject: example for example in reversed(of_kind) if example.trained}
        depicted = [example.subject for example in of_kind if example.subject in first]
        chosen = list(dict.fromkeys(depicted))[:SUBJECTS]
        demonstration += [first[name] for name in chosen]
        others = {example.subject: example for example in reversed(of_kind) if not example.trained}
        demonstration += [others[name] for name in chosen if name in others][:PARAPHRASES]
    return demonstration


def example_csv(folder: Path) -> bytes:
    """Return every second prompt of the demonstration as a table to scan."""
    prompts = demonstration_prompts(folder)[::2]
    rows = ((example.caption, f"row {number}") for number, example in enumerate(prompts, start=1))
    return csv_bytes(["prompt", "id"], rows)


def kept_prompts(prompts: list[PromptExample]) -> set[str]:
    """Return the captions whose full study is kept: the first `KEPT` of each kind."""
    kinds = dict.fromkeys(example.kind for example in prompts)
    return {
        example.caption
        for kind in kinds
        for example in [example for example in prompts if example.kind == kind][:KEPT]
    }


def demonstration_items(
    subject: Subject, folder: Path, runs: Path, parts: Path | None = None
) -> Iterator[Progress[list[ReviewItem]]]:
    """Study the prompts; the last progress has all items, the most suspicious ones first.

    `folder` is that of the shipped model. The full studies of `kept_prompts` go into the folder
    `runs`. The score is that of the early scan where the subject's is calibrated. Labels do not
    say what is known of a prompt: a reviewer is to find out. Finished studies are kept in the
    folder `parts`, where it is given, and used again.
    """
    model, early = subject.model, subject.calibration.early
    prompts = demonstration_prompts(folder)
    kept = kept_prompts(prompts)
    items: list[ReviewItem] = []
    for number, example in enumerate(prompts, start=1):
        config = ImageConfig(
            model.name,
            (example.caption,),
            SEEDS,
            model.sampling,
            curve=False,
            frames=0,
        )
        *_, last = kept_image_run(config, subject, parts)
        name = sha256 = ""
        if example.caption in kept:
            name = f"demonstration-{number:02d}.safetensors"
            save_record(runs / name, last.partial)
            sha256 = file_sha256(runs / name)
        item = run_item(last.partial, file=name, sha256=sha256)
        if early is not None:
            score = float(score_prompts(model, early, [example.caption]).score[0])
            item = replace(item, score=score)
        items.append(replace(item, label="" if example.trained else "paraphrase"))
        done = sorted(items, key=lambda item: (item.lid_percentile, -item.similarity))
        yield Progress(number / len(prompts), f"Studied {number} of {len(prompts)} prompts", done)
