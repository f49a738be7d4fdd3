"""Examples to start from: prompts of every kind, and a model's own settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mmh_core.studies.images.run import DEFAULT_SEEDS, ImageConfig
from mmh_core.text_to_image.assembly import recommended
from mmh_core.text_to_image.catalogue import CatalogueEntry
from mmh_core.text_to_image.configuration import image_size
from mmh_core.text_to_image.requests import Sampling
from mmh_core.text_to_image.weights import read_json

#: The sampling of Stable Diffusion where no card says otherwise.
_STEPS, _GUIDANCE, _SIDE = 50, 7.5, 512


@dataclass(frozen=True)
class PromptExample:
    """A caption of the shipped world; `trained` is False for a paraphrase of one.

    `memorized` is whether the world was built for copies of its image, `multiplicity` how often
    that is in the training set, 0 where the table says not.
    """

    caption: str
    kind: str
    subject: str
    trained: bool
    memorized: bool = False
    multiplicity: int = 0


def pocket_examples(folder: Path) -> tuple[PromptExample, ...]:
    """Return the captions of the calibration half, trained ones first in each subject.

    The other half is for tests and benchmarks. Errors: MMHError for a missing file.
    """
    import pandas as pd

    # Here, because this reaches everything that building the world needs.
    from mmh_core.pocket.assets import read_prompts, world_number, world_seed
    from mmh_core.pocket.calibration import calibration_captions

    named = read_prompts(folder)
    named = named[named.split == "calibration"]
    named = named.sort_values("trained", ascending=False, kind="stable")
    order = {subject: i for i, subject in enumerate(dict.fromkeys(named.sort_index().subject))}
    named = named.assign(order=named.subject.map(order)).sort_values("order", kind="stable")
    table = named
    # The second world has all its captions in the table.
    if world_number(folder) == 2:
        table = named[named.group.isin(("trained", "paraphrases"))]
    else:
        unnamed = calibration_captions(world_seed(folder))
        unnamed = unnamed[unnamed.kind == "open"].assign(trained=True)
        table = pd.concat([named, unnamed])
    memorized = memorized_kinds(folder)
    return tuple(
        PromptExample(
            str(row["caption"]),
            str(row["kind"]),
            str(row["subject"]),
            bool(row["trained"]),
            str(row["kind"]) in memorized,
            int(row.get("copies", 0)),
        )
        for row in table.to_dict("records")
    )


def memorized_kinds(folder: Path) -> tuple[str, ...]:
    """Return the kinds of captions that a model's world was built to have copied, in its order.

    Errors: MMHError for a missing file.
    """
    from mmh_core.pocket.assets import read_prompts, world_number
    from mmh_core.pocket.second.embedded import REFERENCES
    from mmh_core.pocket.trials import MEMORIZED

    if world_number(folder) != 2:
        return tuple(MEMORIZED)
    table = read_prompts(folder)
    kinds = table[table.trained & ~table.kind.isin(REFERENCES)].kind
    return tuple(str(kind) for kind in dict.fromkeys(kinds))


def comparison_prompts(examples: Sequence[PromptExample], references: int = 2) -> tuple[str, ...]:
    """Return a memorized caption to compare mitigations on, and reference prompts behind it.

    The caption has the most copies of its kind, the first kind that is memorized; the reference
    prompts are the first of so many other kinds. Empty without a memorized caption.
    """
    trained = [prompt for prompt in examples if prompt.trained]
    memorized = [prompt for prompt in trained if prompt.memorized]
    if not memorized:
        return ()
    kind = memorized[0].kind
    chosen = max((p for p in memorized if p.kind == kind), key=lambda prompt: prompt.multiplicity)
    others: dict[str, str] = {}
    for prompt in trained:
        if not prompt.memorized:
            others.setdefault(prompt.kind, prompt.caption)
    return (chosen.caption, *list(others.values())[:references])


def unloaded_config(name: str, entry: CatalogueEntry | None, folder: Path | None) -> ImageConfig:
    """Return the default sampling of a model, from its files alone.

    The card beside it says steps and guidance, its network the size; without files the catalogue's
    entry does. The prompt is empty. Errors: MMHError for a damaged file.
    """
    side = _SIDE if entry is None else entry.resolution
    card = {}
    if folder is not None:
        path = folder / "model_card.json"
        card = recommended(read_json(path)) if path.exists() else {}
        if entry is None:
            unet, vae = (folder / part / "config.json" for part in ("unet", "vae"))
            if unet.exists() and vae.exists():
                side = image_size(read_json(unet), read_json(vae), (unet, vae))[0]
    steps, guidance = int(card.get("steps", _STEPS)), float(card.get("guidance", _GUIDANCE))
    return ImageConfig(name, ("",), DEFAULT_SEEDS, Sampling(steps, guidance, side, side))
