"""The search of a training set for copies: by descriptor, then by pixels.

A descriptor proposes candidates; calibrated thresholds, SSCD's published ones, or pixels, which
need no calibration, decide whether they are copies. Where none of these can decide, the kind is
"unknown" and never "none".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from mmh_core.records import MMHError
from mmh_core.retrieval.alignment import symmetries
from mmh_core.retrieval.copy_evidence import CopyKind, copy_evidence, is_copy
from mmh_core.retrieval.embedders import embed_all
from mmh_core.retrieval.image_names import named_training_image
from mmh_core.retrieval.index import Neighbors, neighbors_at, search
from mmh_core.retrieval.pixel_match import (
    PixelMatch,
    fitted,
    is_flat,
    pixel_match,
    without_margins,
)
from mmh_core.subject.color_search import search_any_color
from mmh_core.subject.copies import CopySearchResult, ImageCopyEvidence, TrainingNeighbor

if TYPE_CHECKING:
    from mmh_core.subject.training_set import TrainingSet

#: In the reason of a similarity without a threshold: the pixels were compared as well.
_PIXELS_DIFFER = " and the pixels of the nearest do not agree"
#: Training images that are kept beside each generated one.
NEIGHBORS = 12
#: The same in each of the seven other symmetries, whose pixels alone are compared.
TURNED_NEIGHBORS = 4
#: SSCD similarity from which an image counts as a copy (Somepalli et al. 2023), and as a strict
#: one (Pizzi et al. 2022, whose authors give .75 for a precision of 90 % on their own set).
SSCD_COPY, SSCD_STRICT = 0.5, 0.75
_NAN = float("nan")


def find_copies(training_set: TrainingSet, images: Tensor) -> list[CopySearchResult]:
    """Return the evidence and the nearest training images of images (B, 3, H, W) in [0, 1].

    The search is exhaustive and unfiltered. What it does not call a copy is searched for again in
    the seven other symmetries of the square, and the pixels of the nearest are compared in all
    eight, whole and cropped: eight descriptions and about 40 comparisons, .05 s for an image of
    the shipped world on one core, a third of it for descriptions. An image of one color is
    like any other of one color, so nothing is said of it. What is none so far is compared with
    every training image regardless of color (`color_search`). A training image that cannot be
    read is left out of the neighbors; the reason counts and names it; "none" becomes "unknown".
    Images of another size than the training images are cut to their shape and resized first.
    Errors: MMHError for descriptors that are no numbers, and where no near one can be read.
    """
    if training_set.training is not None:
        height, width = training_set.training.pixels.shape[2:]
        images = torch.stack([fitted(image, (height, width)) for image in images])
    # The same training image is often near in several symmetries.
    training_set = replace(training_set, image=lru_cache(4 * NEIGHBORS)(training_set.image))
    neighbors = _search(training_set, [images], NEIGHBORS)
    evidence = _evidence(training_set, images, neighbors)
    unreadable: list[list[str]] = [[] for _ in evidence]
    near = [_near(training_set, neighbors, i, unreadable[i]) for i in range(len(evidence))]
    for readable, reasons in zip(near, unreadable, strict=True):
        if reasons and not readable:
            raise MMHError(f"None of the nearest training images can be read. {reasons[0]}")
    rows = [
        (copy, _with_named(training_set, copy, others))
        for copy, others in zip(evidence, near, strict=True)
    ]
    flat = is_flat(images).tolist()
    unsure = [i for i, copy in enumerate(evidence) if not flat[i] and not is_copy(copy.kind)]
    if unsure:
        turned = _search(training_set, symmetries(images[unsure])[1:], TURNED_NEIGHBORS)
        for position, i in enumerate(unsure):
            places = range(position, len(turned.ids), len(unsure))
            others = [_near(training_set, turned, index, unreadable[i]) for index in places]
            rows[i] = _by_pixels(images[i], rows[i], others)
            if rows[i][0].kind not in ("exact", "likely"):
                rows[i] = _without_margins(training_set, images[i], rows[i], unreadable[i])
        recolored = search_any_color(training_set, images[unsure], [rows[i] for i in unsure])
        for i, row in zip(unsure, recolored, strict=True):
            rows[i] = row
    return [
        _flat_image(training_set, row) if flat[i] else _noting_unreadable(row, unreadable[i])
        for i, row in enumerate(rows)
    ]


def _search(training_set: TrainingSet, views: Sequence[Tensor], k: int) -> Neighbors:
    """Return the nearest of all images of some views (B, 3, H, W), one view after the other."""
    # A quarter turn exchanges the edges: views of one shape are described together.
    numbers: dict[torch.Size, list[int]] = {}
    for number, view in enumerate(views):
        numbers.setdefault(view.shape[2:], []).append(number)
    parts: list[Tensor] = [views[0]] * len(views)
    try:
        for alike in numbers.values():
            batch = torch.cat([views[number] for number in alike])
            described = embed_all(training_set.embedder, batch)
            counts = [len(views[number]) for number in alike]
            for number, part in zip(alike, torch.split(described, counts), strict=True):
                parts[number] = part
        vectors = torch.cat(parts)
        return search(training_set.index, vectors, k=k)
    except ValueError as error:
        if "not finite" not in str(error):
            raise
        raise MMHError(
            f"The embedder {training_set.embedder.name} gave a descriptor that is zero or not "
            "finite, so nothing can be compared: check its weights, or choose another embedder."
        ) from error


def _near(
    training_set: TrainingSet, neighbors: Neighbors, number: int, unreadable: list[str]
) -> tuple[TrainingNeighbor, ...]:
    """Return the nearest training images of an image; errors of reading go to `unreadable`."""
    near = list[TrainingNeighbor]()
    for k in range(neighbors.ids.shape[1]):
        try:
            image = training_set.image(int(neighbors.rows[number, k]))
        except MMHError as error:
            if str(error) not in unreadable:
                unreadable.append(str(error))
            continue
        near.append(
            TrainingNeighbor(
                int(neighbors.ids[number, k]),
                float(neighbors.similarity[number, k]),
                neighbors.captions[number][k],
                neighbors.kinds[number][k],
                int(neighbors.multiplicity[number, k]),
                image,
                _file(training_set, neighbors.files[number][k]),
            )
        )
    return tuple(near)


def _with_named(
    training_set: TrainingSet, copy: ImageCopyEvidence, near: tuple[TrainingNeighbor, ...]
) -> tuple[TrainingNeighbor, ...]:
    """Return the nearest training images, with the one that a copy is named after behind them.

    A copy is named by its pixels: among many versions of one image a dozen others may have the
    more similar descriptor, and then it would stand beside an image that nothing is said of.
    """
    row = training_set.row(copy.nearest)
    if row is None or copy.nearest in [one.id for one in near]:
        return near
    named = neighbors_at(training_set.index, np.array([[row]]), np.array([[copy.similarity]]))
    return (*near, *_near(training_set, named, 0, []))


def _file(training_set: TrainingSet, label: str) -> str:
    """Return the file of a training image, "" in the shipped world, where images share files."""
    return label if training_set.training is None else ""


def _noting_unreadable(result: CopySearchResult, unreadable: list[str]) -> CopySearchResult:
    """Return evidence that says which of the nearest training images could not be compared."""
    if not unreadable:
        return result
    copy, near = result
    kind: CopyKind = "unknown" if copy.kind == "none" else copy.kind
    note = (
        f"{len(unreadable)} of the nearest training images could not be compared: {unreadable[0]}"
    )
    # It may be the very nearest whose pixels nobody has seen.
    reason = copy.reason.replace(_PIXELS_DIFFER, "")
    return replace(copy, kind=kind, reason=f"{reason} {note}"), near


def _by_pixels(
    image: Tensor,
    result: CopySearchResult,
    turned: list[tuple[TrainingNeighbor, ...]],
) -> CopySearchResult:
    """Return evidence and neighbors of an image after comparing pixels in all symmetries.

    `turned` holds what each further symmetry found.
    """
    copy, near = result
    groups = [near, *turned]
    match = pixel_match(image, [[neighbor.image for neighbor in group] for group in groups])
    if match is None:
        return _no_copy_in_symmetries(copy), near
    return _matched_by_pixels(result, match, groups[match.symmetry][match.candidate])


def _without_margins(
    training_set: TrainingSet,
    image: Tensor,
    result: CopySearchResult,
    unreadable: list[str],
) -> CopySearchResult:
    """Return the result for the image without its border, which misleads a descriptor."""
    inner = without_margins(image)
    if inner is None:
        return result
    nearest = _search(training_set, symmetries(inner[None]), TURNED_NEIGHBORS)
    groups = [_near(training_set, nearest, way, unreadable) for way in range(len(nearest.ids))]
    match = pixel_match(inner, [[neighbor.image for neighbor in group] for group in groups])
    if match is None:
        return result
    words = f"without its margins and {match.words}" if match.words else "without its margins"
    match = replace(match, kind="likely", words=words)
    return _matched_by_pixels(result, match, groups[match.symmetry][match.candidate])


def _matched_by_pixels(
    result: CopySearchResult, match: PixelMatch, neighbor: TrainingNeighbor
) -> CopySearchResult:
    """Return evidence that names the training image matched by pixels, now one of the near."""
    copy, near = result
    others = tuple(entry for entry in near if entry.id != neighbor.id)
    near = tuple(sorted((neighbor, *others), key=lambda entry: -entry.similarity))
    kind: CopyKind = match.kind
    copied = replace(
        copy,
        kind=kind,
        reason=_match_reason(match, neighbor),
        nearest=neighbor.id,
        file=neighbor.file,
        similarity=neighbor.similarity,
        multiplicity=neighbor.multiplicity,
        near_duplicates=copy.near_duplicates if neighbor.id == copy.nearest else 0,
    )
    return copied, near


def _match_reason(match: PixelMatch, neighbor: TrainingNeighbor) -> str:
    done = f" {match.words}" if match.words else ""
    if match.kind == "exact":
        change = f", once it is{done}" if done else ""
        name = neighbor.display_name
        return f"Its pixels are those of training image {name}{change}: {match.figures}."
    change = f",{done}," if done else ""
    return (
        f"Likely a copy of training image {neighbor.display_name}{change} by its pixels: "
        f"{match.figures}. Compare the two by eye."
    )


def _no_copy_in_symmetries(copy: ImageCopyEvidence) -> ImageCopyEvidence:
    """Return evidence of no copy whose reason names the symmetries that were searched too."""
    if copy.kind != "none" or not copy.similarity >= copy.threshold:
        return copy
    return replace(
        copy,
        reason=f"Similar to training image {copy.display_name} ({copy.similarity:.3f}, copy "
        f"threshold {copy.threshold:.3f}), but its pixels do not agree, nor do they mirrored, "
        "turned or cropped a little; smaller parts can be missed.",
    )


def _flat_image(training_set: TrainingSet, result: CopySearchResult) -> CopySearchResult:
    """Return the result for an image of one color; its similarity stays where it is calibrated."""
    copy, near = result
    copy = replace(copy, kind="flat", reason="One color: nothing to compare.")
    if training_set.training is not None:
        return copy, near
    return replace(copy, nearest=-1, file="", similarity=_NAN, multiplicity=0, threshold=_NAN), ()


def _evidence(
    training_set: TrainingSet, images: Tensor, near: Neighbors
) -> list[ImageCopyEvidence]:
    if training_set.training is None or training_set.thresholds is None:
        return [
            _by_similarity_alone(
                training_set,
                float(near.similarity[i, 0]),
                int(near.ids[i, 0]),
                int(near.multiplicity[i, 0]),
                near.files[i][0],
            )
            for i in range(len(near.ids))
        ]
    training = training_set.training
    evidence = copy_evidence(images, training_set.embedder, training, training_set.thresholds)
    multiplicities = dict(
        zip(training.index.ids.tolist(), training.multiplicity.tolist(), strict=True)
    )
    # A copy is named by its pixels, all else by the descriptor.
    exact = torch.tensor([kind == "exact" for kind in evidence.kind])
    named = torch.where(exact, evidence.pixel_nearest, evidence.nearest)
    similar = torch.where(exact, evidence.pixel_similarity, evidence.similarity)
    return [
        ImageCopyEvidence(
            kind=evidence.kind[b],
            reason=evidence.reason[b],
            nearest=int(named[b]),
            similarity=float(similar[b]),
            calibrated_l2=float(evidence.calibrated_l2[b]),
            ratio=float(evidence.ratio[b]),
            multiplicity=multiplicities[int(named[b])],
            near_duplicates=int(evidence.near_duplicates[b]),
            agreeing=float(evidence.agreeing[b]),
            family=int(evidence.family[b]),
            threshold=training_set.thresholds.descriptor,
        )
        for b in range(len(evidence.kind))
    ]


def _by_similarity_alone(
    training_set: TrainingSet, similarity: float, id: int, multiplicity: int, file: str = ""
) -> ImageCopyEvidence:
    """Return the evidence of a similarity alone, for which only SSCD has a published threshold."""
    limits = f"a copy from {SSCD_STRICT} on, a likely one from {SSCD_COPY} on"
    name, value, threshold = training_set.embedder.name, f"{similarity:.3f}", SSCD_COPY
    kind: CopyKind = "unknown"
    called = named_training_image(str(id), file)
    if math.isnan(similarity):
        threshold = _NAN
        reason = f"{name} gave a similarity that is no number, so nothing can be compared."
    elif not name.startswith("sscd"):
        threshold = _NAN
        reason = (
            f"The nearest is image {called}, similarity {value}; {name} has no calibrated "
            f"threshold here{_PIXELS_DIFFER}, so a copy can be neither shown nor ruled out: "
            "compare the two by eye, or build the index with SSCD."
        )
    elif similarity >= SSCD_STRICT:
        kind, reason = "exact", f"A copy of image {called}: SSCD similarity {value} ({limits})."
    elif similarity >= SSCD_COPY:
        kind = "likely"
        reason = (
            f"Likely a copy of image {called}: SSCD similarity {value} ({limits}). Compare the "
            "two by eye."
        )
    else:
        kind, reason = "none", f"No image is near: SSCD similarity {value} ({limits})."
    nan = (_NAN, _NAN)
    return ImageCopyEvidence(
        kind, reason, id, similarity, *nan, multiplicity, 0, _NAN, 0, threshold, file
    )
