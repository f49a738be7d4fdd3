"""The second world as the data beside an embedded model: images, labels and captions."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from mmh_core.counting import plural
from mmh_core.memorization.cause import DATA
from mmh_core.pocket.assets import read_prompts
from mmh_core.pocket.build import Models, assemble
from mmh_core.pocket.furnish import LayoutSteps, furnish
from mmh_core.pocket.second.drawn import (
    OPEN_START,
    WorldNumbers,
    held_out_captions,
    held_out_scenes,
)
from mmh_core.pocket.second.families import GrammarCaption, family_of
from mmh_core.pocket.second.finish import draw_all
from mmh_core.pocket.second.images import caption_of, open_images
from mmh_core.pocket.second.plan import DENOISERS, GUIDANCE, STEPS
from mmh_core.pocket.second.searched import kind_of, rendered_rows
from mmh_core.pocket.second.training import Workshop
from mmh_core.pocket.second.truth import lid_star
from mmh_core.pocket.world import COLUMNS, World
from mmh_core.records import PARAPHRASE, LabelledPrompt, MMHError, Progress, Split
from mmh_core.retrieval.umap_layout import umap_layout_steps

#: Open images held out.
OPEN_HELD_OUT = 200
#: Kinds of captions that are not memorized, whatever a model does, and reference prompts of them.
REFERENCES = ("unique", "fresh", "held-out")
#: Transforms of near-duplicates that move what an image shows.
_MOVING = ("crop", "shift", "flip")
#: Why captions with 2 or 4 exact copies are excluded.
_BETWEEN = "more copies than one and fewer than count as memorized"
_SPLITS: tuple[Split, ...] = ("calibration", "test")


def embed_second(
    shop: Workshop, out: Path, layout: LayoutSteps = umap_layout_steps
) -> Iterator[Progress[None]]:
    """Write the networks of a finished build into `out`, with the world beside them.

    The index of the training set holds every distinct row of the training table with its copies,
    near-duplicates as rows of their own. Open images and those of fresh captions are not in it:
    they are drawn anew without end and come up about once, so a copy of one cannot be detected.
    Errors: MMHError for a stage that is not finished.
    """
    needed = ("world", "autoencoder", "clip", "descriptor", DENOISERS[0])
    for stage in needed:
        if not shop.finished(stage):
            raise MMHError(
                f"The stage {stage} is not finished: run pocket build --world 2 --stage {stage} "
                "first."
            )
    yield Progress(0.0, "Writing the networks", None)
    networks = Models(
        shop.scaled_autoencoder(),
        shop.model("clip"),
        shop.model("descriptor"),
        shop.model(DENOISERS[0]),
    )
    assemble(networks, shop.work / "tokenizer", out, shop.work)
    yield Progress(0.1, "Rendering training and held-out images", None)
    world = second_world(shop)
    training = {"world": 2, "config": repr(shop.config)}
    about = {"guidance": GUIDANCE, "steps": STEPS, "training": training}
    numbers = WorldNumbers(
        shop.tables.seed, shop.tables.sizes, len(world.images), len(world.held_out)
    )
    steps = furnish(out, world, about, caption_table(shop), numbers, layout)
    for progress in steps:
        yield Progress(0.2 + 0.8 * progress.fraction, progress.message, None)


def second_world(shop: Workshop, open_held_out: int = OPEN_HELD_OUT) -> World:
    """Return the distinct training images and others that nothing was trained with, labelled.

    Held out: one image of each trained and each held-out caption, and open images. LID* of a
    training image is that of its caption, NaN where it is not measured.
    """
    rows = shop.tables.rows.iloc[: shop.config.rows]
    lid = dict(zip(shop.truth().caption, shop.truth().lid, strict=True))
    entries = [
        _entry(shop, number, caption, float(lid.get(caption, np.nan)), copies)
        for number, (caption, copies) in enumerate(
            zip(rows.caption.tolist(), rows.copies.tolist(), strict=True)
        )
    ]
    labels = pd.DataFrame(entries, columns=list(COLUMNS))
    inside = held_out_captions(shop.tables)
    scenes = held_out_scenes(shop.tables, len(inside) + open_held_out)
    others = []
    for number, caption in enumerate(inside):
        free = _free(caption_of(shop.tables, caption), shop.tables.seed)
        others.append(_entry(shop, number, caption, float(lid_star(scenes[number], free)), 0))
    opened = open_images(shop.tables, OPEN_START, open_held_out)
    for number, each in enumerate(opened, start=len(inside)):
        true = lid_star(each.scene, _free(each.caption, shop.tables.seed))
        subject, content = f"open/{each.caption.painter}", _content(each.caption)
        texts = (each.caption.text,)
        others.append(
            (number, each.caption.painter, "open", subject, content, texts, float(true), 0)
        )
    held_out = pd.DataFrame(others, columns=list(COLUMNS))
    return World(shop.tables.seed, rendered_rows(shop), labels, draw_all(scenes), held_out)


def caption_table(shop: Workshop) -> pd.DataFrame:
    """Return every caption of the world but those of the small sets, as `read_prompts` reads it.

    caption, subject, kind, family, trained and split as in the first world; and group, role,
    copies, images, transform, repeated, lid and chance, so that figures can be taken by dose.
    A paraphrase has kind, subject and dose of the caption that it paraphrases.
    """
    captions = shop.tables.captions
    table = captions[captions.group != "small"].merge(
        shop.truth(), left_on="id", right_on="caption", how="left"
    )
    own = np.where(table.paraphrase_of >= 0, table.paraphrase_of, table.id)
    doses = captions.iloc[own]
    made = pd.DataFrame(
        {
            "caption": table.text,
            "subject": [f"caption/{number}" for number in own],
            "kind": [kind_of_caption(row) for row in doses.to_dict("records")],
            "family": table.painter,
            "trained": table.group == "trained",
            "split": doses.split.to_numpy(),
            "group": table.group,
        }
    )
    for name in ("role", "copies", "images", "transform", "repeated"):
        made[name] = doses[name].to_numpy()
    for name in ("lid", "chance"):
        made[name] = table[name].to_numpy(np.float64)
    return made


def kind_of_caption(caption: Mapping[Hashable, object]) -> str:
    """Return what a caption is called: its dose where it is trained, else its group."""
    if caption["group"] != "trained":
        return str(caption["group"])
    return kind_of(str(caption["role"]), int(str(caption["copies"])))


def second_labelled(folder: Path) -> tuple[LabelledPrompt, ...]:
    """Return the labelled prompts of the second world beside a model.

    Labels describe the data: memorized are captions with 8 exact copies or more, near-duplicates
    and templates, and their paraphrases (kind "paraphrase", test half alone); captions with 2 or 4
    copies are excluded in the test half, for the dose alone, and prompts of no world count as not
    memorized. The group of a trained caption is its dose, and the cause of a memorized one is the
    data.
    """
    table = read_prompts(folder)
    rows = []
    for split in _SPLITS:
        # Nothing is fitted on captions that neither label fits.
        fits = (table.repeated != "between") | (split == "test")
        part = table[(table.split == split) & fits]
        trained = part[part.group != "paraphrases"]
        rows += [
            LabelledPrompt(
                str(row["caption"]),
                row["repeated"] in ("yes", "between"),
                str(row["kind"]),
                split,
                group=_dose(row),
                cause=DATA if row["repeated"] == "yes" else "",
                multiplicity=_copies(row),
                near=_near(row),
                exclusion=_BETWEEN if row["repeated"] == "between" else "",
            )
            for row in trained.to_dict("records")
        ]
        if split == "test":
            others = part[(part.group == "paraphrases") & (part.repeated == "yes")]
            rows += [
                LabelledPrompt(
                    str(row["caption"]),
                    True,
                    PARAPHRASE,
                    split,
                    multiplicity=_copies(row),
                    near=_near(row),
                )
                for row in others.to_dict("records")
            ]
    first: dict[str, LabelledPrompt] = {}
    for row in rows:
        # A caption of two or three words may be its own paraphrase.
        first.setdefault(row.prompt, row)
    return tuple(first.values())


def _copies(row: Mapping[Hashable, object]) -> int | None:
    """Return the dose of a caption, None where its images are neither copied nor each once.

    A caption that nothing was trained with has the dose 0. Templates vary in one attribute, and
    the images of fresh captions are drawn anew without end: no number of copies says how often.
    """
    if row["group"] not in ("trained", "paraphrases"):
        return 0
    if row["role"] in ("exact", "near", "unique"):
        return int(str(row["copies"]))
    return None


def _near(row: Mapping[Hashable, object]) -> str:
    """Return the transform by which the copies of a caption differ, "" for exact ones."""
    return str(row["transform"]) if row["role"] == "near" else ""


def _dose(row: Mapping[Hashable, object]) -> str:
    """Return the dose of a caption in words, "" for one that is not duplicated."""
    if row["role"] == "exact":
        return plural(_copies(row) or 0, "exact copy")
    if row["role"] == "near":
        return f"{row['copies']} near-duplicates by {row['transform']}"
    return ""


def second_references(folder: Path, count: int) -> tuple[str, ...]:
    """Return reference prompts of the calibration half, `count` at most, kinds in turn."""
    table = read_prompts(folder)
    table = table[(table.split == "calibration") & table.kind.isin(REFERENCES)]
    table = table[table.group != "paraphrases"]
    place = table.groupby("kind").cumcount()
    ordered = table.assign(place=place).sort_values("place", kind="stable")
    return tuple(str(text) for text in ordered.caption[:count])


def second_example(folder: Path, kind: str) -> str:
    """Return the caption of a kind in the calibration half that shows the kind best.

    The most copies; near-duplicates that are not moved, which look the same; then of what is
    duplicated the fewest distinct images, so that all seeds copy the same one, and of all else the
    most; then a portrait, in which anybody sees a copy; then the greatest LID*.
    """
    table = read_prompts(folder)
    table = table[(table.split == "calibration") & table.trained & (table.kind == kind)]
    if table.empty:
        raise MMHError(f"The world beside {folder} has no caption of the kind {kind}.")
    few = kind in ("duplicate", "near-duplicate")
    table = table.assign(
        shown=-table.images if few else table.images,
        still=~table["transform"].isin(_MOVING),
        portrait=table.family == "portrait",
    )
    order = ["copies", "still", "shown", "portrait", "lid"]
    return str(table.sort_values(order, kind="stable").caption.iloc[-1])


def _entry(
    shop: Workshop, number: int, caption: int, lid: float, copies: int
) -> tuple[object, ...]:
    row = shop.tables.captions.iloc[caption].to_dict()
    content = _content(caption_of(shop.tables, caption))
    kind, subject = kind_of_caption(row), f"caption/{caption}"
    return (number, row["painter"], kind, subject, content, (row["text"],), lid, copies)


def _content(caption: GrammarCaption) -> str:
    return f"{caption.painter}/{caption.subject}/{sorted(caption.fixed)}"


def _free(caption: GrammarCaption, seed: int) -> tuple[str, ...]:
    return family_of(caption, seed).free
