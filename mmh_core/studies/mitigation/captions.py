"""The captions of a benchmark of mitigations, chosen from a labelled list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain as joined
from itertools import zip_longest
from pathlib import Path

from mmh_core.counting import plural
from mmh_core.pocket.assets import read_prompts
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.studies.mitigation.benchmark_run import Caption, Captions

#: Their images are copied in parts, or they are other texts of listed captions.
LEFT_OUT = ("template", "paraphrase")


def chosen_captions(
    labelled: Sequence[LabelledPrompt],
    count: int,
    *,
    paraphrases: Mapping[str, tuple[str, ...]] | None = None,
    doses: Mapping[str, int] | None = None,
) -> Captions:
    """Return `count` memorized and reference captions of the test half, a third to calibrate.

    Groups take turns: kinds, and within a kind the list's own groups and the `doses`, the number
    of copies by caption.
    Templates are left out. Errors: MMHError where a half has none.
    """
    texts, copies = paraphrases or {}, doses or {}

    def turns(split: str, memorized: bool, count: int) -> tuple[Caption, ...]:
        groups: dict[tuple[str, int, str], list[Caption]] = {}
        for row in labelled:
            if (row.split, row.memorized) == (split, memorized) and row.kind not in LEFT_OUT:
                dose = copies.get(row.prompt)
                caption = Caption(row.prompt, row.kind, texts.get(row.prompt, ()), dose)
                groups.setdefault((row.kind, dose or 0, row.group), []).append(caption)
        # Kinds in the order of the list, and within each the smallest dose first.
        kinds = list(dict.fromkeys(row.kind for row in labelled))
        ordered = sorted(groups, key=lambda group: (kinds.index(group[0]), *group[1:]))
        lists = [groups[group] for group in ordered]
        chosen = joined.from_iterable(zip_longest(*lists))
        return tuple(caption for caption in chosen if caption is not None)[:count]

    captions = Captions(
        turns("calibration", True, max(2, -(-count // 3))),
        turns("test", True, count),
        turns("test", False, count),
    )
    if not (captions.calibration and captions.test and captions.reference):
        raise MMHError(
            "The benchmark needs memorized captions in both halves and reference captions in the "
            f"test half; there are {len(captions.calibration)} to calibrate, "
            f"{len(captions.test)} to test and "
            f"{plural(len(captions.reference), 'reference caption')}: add prompts to the list."
        )
    return captions


def paraphrases_listed(folder: Path | None, prompt: str) -> tuple[str, ...]:
    """Return the other captions of a prompt's subject, none where the model lists no captions."""
    if folder is None or not (folder / "prompts.parquet").exists():
        return ()
    return listed_paraphrases(folder).get(prompt, ())


def listed_paraphrases(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return by caption of a model's own world the other captions of its subject, untrained."""
    table = read_prompts(folder)
    others = {
        str(subject): tuple(str(text) for text in rows.caption)
        for subject, rows in table[~table.trained].groupby("subject", sort=False)
    }
    trained = table[table.trained]
    return {
        str(text): others.get(str(subject), ())
        for text, subject in zip(trained.caption, trained.subject, strict=True)
    }


def listed_doses(folder: Path) -> dict[str, int]:
    """Return by caption how often its image was trained with, empty where the world says not."""
    table = read_prompts(folder)
    if "copies" not in table.columns:
        return {}
    return {
        str(text): int(copies) for text, copies in zip(table.caption, table["copies"], strict=True)
    }
