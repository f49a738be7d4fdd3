"""The world: training images with captions, labels and copies, and held-out images.

| kind | images of a caption | copies of each in the training set | LID_* |
|---|---|---|---|
| open | one, drawn anew | 1 | 9 to 21 |
| varied | about a hundred, all different | 1 | 7 to 10 |
| duplicate | one | 30 to 200 | 0 |
| template | some forty that differ in one color | 2 | 1 or 2 |
| overfit | one to three of a wide family | so that the caption comes up 120 times | 7 to 10 |
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from mmh_core.pocket.cast import DepictedSubject, Kind, named_subjects, random_style
from mmh_core.pocket.grammar import captions, content
from mmh_core.pocket.scenes import PAINTERS, Scene, draw, parameters
from mmh_core.pocket.true_lid import true_lid

#: Images of each unnamed family: trained on, and held out.
OPEN_IMAGES = {
    "portrait": 600,
    "landscape": 500,
    "product": 500,
    "composition": 600,
    "emblem": 300,
}
OPEN_HELD_OUT = 60
VARIED_IMAGES, TEMPLATE_IMAGES = 100, 42
HELD_OUT = {"varied": 8, "template": 5, "overfit": 6}
TEMPLATE_COPIES = 2
OVERFIT_EXPOSURES = 120
COLUMNS = ("id", "family", "kind", "subject", "content", "captions", "lid", "copies")


@dataclass(frozen=True)
class World:
    """All images of the world, with labels.

    `images` (N, 64, 64, 3) uint8 are the distinct training images, `held_out` others of the
    same families that no model is trained on; for either a table with one row per image:

    - id: its row number; family: its painter; kind; subject: the id of its `DepictedSubject`;
    - content: equal for images whose captions say the same;
    - captions: those it is trained with, one where the caption is always the same string;
    - lid: LID_* given the caption; copies: how often it is in the training set, 0 if held out.
    """

    seed: int
    images: NDArray[np.uint8]
    labels: pd.DataFrame
    held_out: NDArray[np.uint8]
    held_out_labels: pd.DataFrame


@dataclass(frozen=True)
class _Entry:
    """One image of the world before it is rendered."""

    subject: DepictedSubject
    scene: Scene
    copies: int


def build_world(seed: int = 0, *, share: float = 1.0) -> World:
    """Return the world of a seed; `share` below 1 is that part of each family, for trials.

    Names, captions and looks of the cast do not depend on `share`. Takes about three minutes on
    one core, most of it for LID_*.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share!r}.")
    trained, held_out = [], []
    for number, subject in enumerate(subjects(seed)):
        rng = np.random.default_rng([seed, 2, number])
        trained += list(_trained(subject, rng, share))
        held_out += list(_held_out(subject, rng, share))
    images, labels = _rendered(trained)
    others, other_labels = _rendered(held_out)
    return World(seed, images, labels, others, other_labels)


def subjects(seed: int) -> tuple[DepictedSubject, ...]:
    """Return the named cast, and then one subject for each unnamed family."""
    unnamed = tuple(
        DepictedSubject(f"open/{painter}", "open", painter, None, {}, (), parameters(painter))
        for painter in PAINTERS
    )
    return named_subjects(seed) + unnamed


def trained_captions(subject: DepictedSubject, scene: Scene) -> tuple[str, ...]:
    """Return the captions that an image is trained with.

    Memorized kinds have one, the same for all their images, as captions of copied images in
    web data do: which of the templates it is depends on the name alone.
    """
    all_of_them = captions(scene.painter, scene.style, subject.name)
    if subject.kind in ("open", "varied"):
        return all_of_them
    return (all_of_them[sum(subject.id.encode()) % len(all_of_them)],)


def prompts(seed: int) -> pd.DataFrame:
    """Return every caption of the named cast: caption, subject, kind, family, trained, split.

    `trained` is False for the paraphrases of memorized captions, which no image was trained
    with. `split` halves the subjects of each kind into "calibration" and "test".
    """
    rows = []
    seen: dict[Kind, int] = {}
    for subject in named_subjects(seed):
        order = seen[subject.kind] = seen.get(subject.kind, -1) + 1
        scene = Scene(subject.painter, subject.style, subject.values)
        used = trained_captions(subject, scene)
        for text in captions(subject.painter, subject.style, subject.name):
            rows.append(
                {
                    "caption": text,
                    "subject": subject.id,
                    "kind": subject.kind,
                    "family": subject.painter,
                    "trained": text in used,
                    "split": ("calibration", "test")[order % 2],
                }
            )
    return pd.DataFrame(rows)


def _count(full: int, share: float) -> int:
    return max(1, round(full * share))


def _trained(subject: DepictedSubject, rng: np.random.Generator, share: float) -> Iterator[_Entry]:
    """Yield the training images of a subject."""
    kind = subject.kind
    if kind == "duplicate":
        copies = round(float(np.exp(rng.uniform(np.log(30), np.log(200)))))
        yield _Entry(subject, _scene(subject, None), copies)
    elif kind == "overfit":
        number = int(rng.integers(1, 4))
        for _ in range(number):
            yield _Entry(subject, _scene(subject, rng), OVERFIT_EXPOSURES // number)
    elif kind == "template":
        for _ in range(_count(TEMPLATE_IMAGES, share)):
            yield _Entry(subject, _scene(subject, rng), TEMPLATE_COPIES)
    else:
        full = VARIED_IMAGES if kind == "varied" else OPEN_IMAGES[subject.painter]
        for _ in range(_count(full, share)):
            yield _Entry(subject, _scene(subject, rng), 1)


def _held_out(
    subject: DepictedSubject, rng: np.random.Generator, share: float
) -> Iterator[_Entry]:
    """Yield images that are not trained on; a duplicate has no other image to hold out."""
    full = OPEN_HELD_OUT if subject.kind == "open" else HELD_OUT.get(subject.kind, 0)
    for _ in range(_count(full, share) if full else 0):
        yield _Entry(subject, _scene(subject, rng), 0)


def _scene(subject: DepictedSubject, rng: np.random.Generator | None) -> Scene:
    """Return a scene of a subject; without a generator its first image."""
    if rng is None:
        return Scene(subject.painter, subject.style, subject.values)
    names = parameters(subject.painter)
    if subject.kind == "open":
        style = random_style(subject.painter, rng)
        return Scene(subject.painter, style, tuple(rng.random(len(names)).tolist()))
    values = list(subject.values)
    for name in subject.free:
        values[names.index(name)] = float(rng.random())
    return Scene(subject.painter, subject.style, tuple(values))


def _rendered(entries: list[_Entry]) -> tuple[NDArray[np.uint8], pd.DataFrame]:
    images = np.stack([draw(entry.scene) for entry in entries])
    rows = [
        (
            number,
            entry.scene.painter,
            entry.subject.kind,
            entry.subject.id,
            content(entry.scene.painter, entry.scene.style, entry.subject.name),
            trained_captions(entry.subject, entry.scene),
            true_lid(entry.scene, entry.subject.free),
            entry.copies,
        )
        for number, entry in enumerate(entries)
    ]
    return images, pd.DataFrame(rows, columns=list(COLUMNS))
