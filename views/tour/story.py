"""What to notice at each step of the tour, in words that need no other page, from the data shown.

Loads torch, so that it is imported where a page that has loaded it already shows the tour.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import median

from mmh_core.counting import agreeing, plural
from mmh_core.memorization.hypothesis import shown_lid
from mmh_core.mitigations.catalogue import mitigation_words
from mmh_core.studies.images.run import ImageResult, ImageRun
from mmh_core.studies.manifolds.conclusion import reproduced_points
from mmh_core.studies.manifolds.run import ManifoldRun
from mmh_core.studies.mitigation.run import MitigationRun
from mmh_core.studies.mitigation.verdict import best, treatment_results
from views.images import session as image_session
from views.manifolds import session as manifold_session
from views.mitigation import session as mitigation_session
from views.tour import examples
from views.tour.steps import Step


def notice(step: Step) -> str:
    """Return what to notice at a step, "" where its example cannot be read. Errors: MMHError."""
    if step.name == "training":
        circle = manifold_session.preset_run(step.parameters["manifold"])
        return "" if circle is None else of_training(circle)
    if step.name == "mitigation":
        after = examples.mitigated()
        run = None if after is None else mitigation_session.example_run(after.path.stem)
        return "" if run is None or after is None else of_mitigation(run, after)
    chosen = examples.copied() if step.name == "copies" else examples.uncopied()
    images = None if chosen is None else image_session.example_run(chosen.path.stem)
    if images is None:
        return ""
    return of_copies(images) if step.name == "copies" else of_contrast(images)


def of_training(run: ManifoldRun) -> str:
    """Return what to notice while a model learns points of a shape."""
    first, last = run.snapshots[0], run.snapshots[-1]
    before, after = (int(s.generated.memorized.sum()) for s in (first, last))
    many, points = len(last.generated.verdict), reproduced_points(run, last)
    text = (
        f"A model learns from {plural(len(run.train.points), 'point')}, the crosses, and makes "
        "new ones, the dots. Press Play: "
    )
    if after > before:
        where = f" and lie on {plural(points, 'cross')}" if points else ""
        text += (
            f"dots that only repeat a cross rise from {before:,} to {after:,} of {many:,}{where}. "
        )
    else:
        text += "see where the dots go as it learns. "
    return text + (
        "The color is the LID: the number of directions in which the model can still vary a dot. "
        f"In the data it is {_lid(run.typical_lid)}; at 0, in violet, the model can only repeat."
    )


def of_copies(run: ImageRun) -> str:
    """Return what to notice of images that are copies."""
    count, many = len(run.copies), len(run.images)
    text = (
        "An image model starts from random noise and removes it step by step, led by a prompt; "
        f"here {plural(many, 'time')}, each from another noise. Press Play: {count} of {many} "
        f"{agreeing(count, 'ends', 'end')} as a copy of a training image, as at the right. "
    )
    lids = _median(run.copies)
    if math.isnan(lids) or run.reference is None:
        return text
    return text + (
        f"The LID says so without a search: {_lid(lids)} directions in which the model can still "
        f"vary these images, where other images have about {_reference(run):.0f}."
    )


def of_contrast(run: ImageRun) -> str:
    """Return what to notice of images that are no copies."""
    truth = next((image.truth for image in run.images if image.truth is not None), None)
    start = "Another prompt of the same model"
    if truth is not None and truth.images > 1:
        start += f", learned from {truth.images:,} different training images"
    text = f"{start}: none of {plural(len(run.images), 'image')} is a copy. "
    lids = _median(run.images)
    if not math.isnan(lids) and run.reference is not None:
        text += (
            f"The LID is {lids:.0f}, and {_reference(run):.0f} is typical of prompts that are not "
            "copied. "
        )
    return text + "The nearest training image stands beside each: compare them by eye."


def of_mitigation(run: MitigationRun, shown: examples.MitigationExample) -> str:
    """Return what to notice where the same images are generated without and with a mitigation."""
    results = treatment_results(run)
    base, passing = results[0].row, best(results)
    label = (
        shown.label
        if passing is None
        else mitigation_words(passing.treatment.mitigation, passing.treatment.strength)
    )
    after = 0 if passing is None else passing.row.copies
    copied = examples.copied()
    same = copied is not None and copied.prompt == shown.prompt
    return (
        f"{'The copied prompt again' if same else 'Another prompt that is copied'}, and the same "
        f"model. From the same starting noise {base.copies} of {base.images} images are "
        f"copies without a mitigation, and {after} with {label}. What it costs stands "
        "in the figures: whether the images still show what was asked for (alignment), and "
        "whether other prompts change. The images are below them."
    )


def _median(images: Sequence[ImageResult]) -> float:
    """Return the median LID of images, NaN where none has one."""
    lids = [image.lid.conditional for image in images if image.lid is not None]
    finite = [lid for lid in lids if math.isfinite(lid)]
    return median(finite) if finite else math.nan


def _reference(run: ImageRun) -> float:
    return math.nan if run.reference is None else float(run.reference.conditional.median())


def _lid(value: float) -> str:
    return f"{shown_lid(value):.1f}".removesuffix(".0")
