"""The search for copies in other colors, for an image without a copy."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmh_core.retrieval.embedders import embed_all
from mmh_core.retrieval.index import similarities, unit_rows
from mmh_core.retrieval.recolored import LIKELY, POSSIBLE, Recoloring, recoloring
from mmh_core.subject.copies import CopyFound, NeighborFound

if TYPE_CHECKING:
    from torch import Tensor

    from mmh_core.subject.training_set import TrainingSet

_Row = tuple[CopyFound, tuple[NeighborFound, ...]]


def in_other_colors(training_set: TrainingSet, image: Tensor, row: _Row) -> _Row:
    """Return evidence of an image (3, H, W) in [0, 1] that was "none", searched in any colors.

    Only where the training images are at hand; what was found already stays. *likely*: a training
    image fits it nearly perfectly, in other colors or another brightness; where several do, color
    is what told them apart, and the reason counts them. *unknown*: one fits well, as a recolored
    copy would and as another image of the same shapes would too; or its colors lie beyond those
    of all training images, for which the search was not calibrated.
    """
    copy, near = row
    if training_set.training is None or copy.kind != "none":
        return row
    match = recoloring(image, training_set.training)
    named = int(training_set.training.index.ids[match.row])
    if match.correlation >= LIKELY:
        return _likely(training_set, image, row, match, named)
    if match.correlation >= POSSIBLE:
        reason = (
            f"In other colors or another brightness it fits training image {named} (correlation "
            f"{match.correlation:.3f}, a copy is possible from {POSSIBLE}): a recolored copy "
            "looks like this, and so does another image of the same shapes. Compare the two by "
            "eye."
        )
        return replace(copy, kind="unknown", reason=f"{copy.reason} {reason}"), near
    if match.outside:
        reason = (
            "Its brightness, contrast or colors lie beyond those of all training images, so the "
            "search could miss its original: look for one in the usual colors."
        )
        return replace(copy, kind="unknown", reason=f"{copy.reason} {reason}"), near
    return row


def _likely(
    training_set: TrainingSet, image: Tensor, row: _Row, match: Recoloring, named: int
) -> _Row:
    as_well = f" {match.ties:,} more fit as well, apart from color." if match.ties else ""
    reason = (
        f"Likely a copy of training image {named} in other colors or another brightness: "
        f"correlation {match.correlation:.4f} (threshold {LIKELY}).{as_well} Compare by eye."
    )
    return likely_copy(training_set, image, row, named, reason)


def likely_copy(
    training_set: TrainingSet, image: Tensor, row: _Row, named: int, reason: str
) -> _Row:
    """Return evidence of a likely copy of the training image of an id, now one of the near.

    For what no descriptor has proposed: its similarity to the image (3, H, W) is computed here.
    """
    copy, near = row
    index = training_set.index
    place = int(np.searchsorted(index.ids, named))
    unit = unit_rows(embed_all(training_set.embedder, image[None]).numpy(force=True))[0]
    similarity = float(similarities(index, unit.astype(np.float64), np.array([place]))[0])
    labels = index.labels.iloc[place]
    own = NeighborFound(
        named,
        similarity,
        str(labels["caption"]),
        str(labels.get("kind", "")),
        int(index.copies[place]),
        training_set.image(place),
    )
    others = tuple(one for one in near if one.id != named)
    likely = replace(
        copy,
        kind="likely",
        reason=reason,
        nearest=named,
        similarity=similarity,
        copies=own.copies,
        near_duplicates=copy.near_duplicates if named == copy.nearest else 0,
    )
    return likely, tuple(sorted((own, *others), key=lambda one: -one.similarity))
