"""The verdict on an image, generated or brought, from copy evidence and LID, with its reason.

`VERDICTS` is the one place that decides. What it holds to: not to find a copy is not the same as
to find that there is none. "not memorized" needs a search that could have found a copy, a LID that
is usual among reference prompts of the same settings, and a prompt that was read to its end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from mmh_core.counting import plural
from mmh_core.memorization.cause import Cause, ModelLids, TrainingNeighborhood, cause_of
from mmh_core.memorization.cause_calibration import judged_cause
from mmh_core.memorization.hypothesis import shown_lid, whole_percent
from mmh_core.memorization.verdict import COPY_VERDICTS
from mmh_core.records import LidEstimate
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.retrieval.pixel_match import is_flat
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.images.lid import SettledImage, estimate_lids
from mmh_core.studies.images.lid_passes import clear_of, sure_half_width
from mmh_core.studies.images.run import ImageResult, ImageVerdict, image_batch
from mmh_core.subject.copies import ImageCopyEvidence
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.neighborhood import neighborhood_of
from mmh_core.subject.reference_prompts import SUSPICIOUS_BELOW, ReferencePrompts, usual_lid
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage

#: Fewest reference images with which a LID is compared: with fewer, one below them all is no
#: rarity.
FEWEST_REFERENCE_IMAGES = 50

#: What the search for copies says; None without training images.
Search = CopyKind | None
#: The LID among those of the reference images: "low" below nearly all of them, "edge" where its
#: 95 % interval holds the threshold, "usual", "above" all of them by more than that interval, "not
#: calibrated" with too few of them, and "unknown" where it is not estimated or not finite.
LidState = Literal["low", "edge", "usual", "above", "not calibrated", "unknown"]

_ORDER: tuple[LidState, ...] = get_args(LidState)
_UNJUDGED: ImageVerdict = "cannot be judged"
_LOW: ImageVerdict = "memorized, cause not identifiable"
_BY_LID_ALONE: tuple[ImageVerdict, ...] = (_LOW, *(_UNJUDGED,) * 5)
_ROWS: dict[Search, tuple[ImageVerdict, ...]] = {
    # A copy is a copy whatever the LID.
    "exact": ("exact copy",) * 6,
    "template": ("template copy",) * 6,
    "likely": ("likely copy, compare by eye",) * 6,
    "none": (
        "suspicious, no copy found",
        # Another estimate might fall on the other side.
        _UNJUDGED,
        "not memorized",
        # What the model does not generate says nothing of what it learned.
        _UNJUDGED,
        "no copy found, LID not calibrated",
        _UNJUDGED,
    ),
    # A search that cannot tell is worth no more than none at all.
    "unknown": _BY_LID_ALONE,
    None: _BY_LID_ALONE,
    # What is plain has a low LID without being memorized.
    "flat": (_UNJUDGED,) * 6,
}
#: The verdict by what the search says and where the LID stands.
VERDICTS: dict[tuple[Search, LidState], ImageVerdict] = {
    (search, state): verdict
    for search, row in _ROWS.items()
    for state, verdict in zip(_ORDER, row, strict=True)
}


def lid_state(lid: ImageLid | None) -> LidState:
    """Return where a LID stands among the reference images.

    An estimate without an interval, such as one of an older file, is taken as it is.
    """
    if lid is None or not math.isfinite(lid.conditional):
        return "unknown"
    if math.isnan(lid.percentile) or 0 < (lid.reference_images or 0) < FEWEST_REFERENCE_IMAGES:
        return "not calibrated"
    low, high = lid.interval
    if low <= lid.threshold <= high:
        return "edge"
    if (lid.conditional if math.isnan(low) else low) > lid.highest_reference:
        return "above"
    return "low" if lid.percentile < SUSPICIOUS_BELOW else "usual"


def verdict_of(
    copy: ImageCopyEvidence | None,
    lid: ImageLid | None,
    *,
    guided: bool,
    cut: str = "",
    flat: bool = False,
) -> tuple[ImageVerdict, str]:
    """Return the verdict of one image and why, by `VERDICTS`.

    `cut` is the end of the prompt that the text encoder did not read: what was found holds of the
    image all the same, but nothing can be said of the prompt as it was written, so that "not
    memorized" becomes "cannot be judged". `guided` is whether there is a guidance norm, `flat`
    whether the image is of one color, for images that were not searched: the search tells itself.
    """
    plain = copy is None and flat
    search: Search = ("flat" if plain else None) if copy is None else copy.kind
    verdict = VERDICTS[search, lid_state(lid)]
    if plain:
        reason = f"One color: nothing to compare. {_lid_words(lid)} A plain image has a low LID."
    else:
        reason = _reason(copy, lid, guided=guided)
    if cut:
        reason = f"{reason} {_unread(cut)}"
        verdict = _UNJUDGED if verdict == "not memorized" else verdict
    return verdict, reason


def _reason(copy: ImageCopyEvidence | None, lid: ImageLid | None, *, guided: bool) -> str:
    state, lid_words = lid_state(lid), _lid_words(lid)
    if copy is not None:
        if copy.kind in ("unknown", "flat"):
            return f"{copy.reason} {lid_words} That no copy was found says nothing here."
        return (
            f"{lid_words} {copy.reason}"
            if state == "low" and copy.kind == "none"
            else (f"{copy.reason} {lid_words}")
        )
    if state == "not calibrated":
        more = "" if guided else " Without guidance there is no guidance norm either."
        return (
            f"{lid_words} There are no training images to search either, so only compare these "
            f"images with one another.{more}"
        )
    return f"{lid_words} {_UNSEARCHED[state]}"


#: What is missing without training images, by where the LID stands.
_UNSEARCHED: dict[LidState, str] = {
    "low": "Without training images nobody can tell whether overfitting or the data is the "
    "cause: add a folder of them to search.",
    "edge": "There are no training images to search either: add a folder of them.",
    "usual": "That is no sign of memorization, but without training images a copy cannot be "
    "ruled out: add a folder of them to search.",
    "above": "There are no training images to search either: add a folder of them.",
    "unknown": "There are no training images to search either: add a folder of them.",
}


@dataclass(frozen=True)
class VerdictBasis:
    """The model, training set and reference prompts by which images are judged.

    LID is estimated at `log_delta`, that without the prompt with the `negative` one. `guided` is
    whether the images have a guidance norm.
    """

    model: TextToImage
    training_set: TrainingSet | None
    reference: ReferencePrompts | None
    log_delta: float
    guided: bool = True
    negative: str = ""

    def lids(self, images: Sequence[ImageResult]) -> Iterator[list[ImageLid]]:
        """Estimate the LID of searched images, those so far after each pass of the network.

        They have their percentile among the reference prompts, and as many probes as their
        verdicts need.
        """
        settled, reference = self.settled(), self.reference
        for lids in estimate_lids(
            self.model, images, self.log_delta, negative=self.negative, settled=settled
        ):
            yield lids if reference is None else [reference.with_percentile(lid) for lid in lids]

    def settled(self) -> SettledImage | None:
        """Return whether a first estimate settles the verdict on an image and its cause.

        It does where its `SURE` interval holds no LID at which the verdict turns: that below which
        an image is suspicious, and that above which the model generates no such images. A copy is
        one whatever its LID, and its cause is settled where it cannot turn. None, which settles
        nothing, without reference prompts.
        """
        reference = self.reference
        levels = () if reference is None else (reference.lid_threshold(), reference.highest_lid())
        clear = clear_of(levels)
        if clear is None:
            return None

        def settled(image: ImageResult, estimate: LidEstimate) -> bool:
            if image.copy is None or VERDICTS[image.copy.kind, "usual"] not in COPY_VERDICTS:
                return clear(image, estimate)
            around = neighborhood_of(self.training_set, image.copy)
            return around is None or cause_settled(usual_lid(reference), around, estimate)

        return settled

    def judged(self, image: ImageResult, lid: ImageLid | None, cut: str) -> ImageResult:
        """Return a searched image with its LID, its verdict and, where it is memorized, the cause.

        `cut` is the end of the prompt that the text encoder did not read.
        """
        flat = image.copy is None and bool(is_flat(image_batch([image]))[0])
        verdict, reason = verdict_of(image.copy, lid, guided=self.guided, cut=cut, flat=flat)
        cause = cause_in(self.training_set, verdict, lid, image.copy, self.reference)
        return replace(
            image,
            lids=() if lid is None else (lid,),
            verdict=verdict,
            reason=reason if cause is None else f"{reason} {cause.sentence}",
            cause=cause,
        )


def cause_settled(
    elsewhere: Interval, around: TrainingNeighborhood, estimate: LidEstimate
) -> bool:
    """Return whether the cause of a copy is the same with the `SURE` interval and at its ends.

    `elsewhere` is the model's usual LID and `around` the training set around the copied image.
    """
    value, half = float(estimate.lid), sure_half_width(estimate)
    low, high = value - half, value + half
    lids = (Interval(value, low, high), Interval(low, low, low), Interval(high, high, high))
    return len({cause_of(ModelLids(lid, elsewhere), around).label for lid in lids}) == 1


def cause_in(
    training_set: TrainingSet | None,
    verdict: ImageVerdict,
    lid: ImageLid | None,
    copy: ImageCopyEvidence | None,
    reference: ReferencePrompts | None = None,
) -> Cause | None:
    """Return the cause of an image that copies a training image, None for any other image.

    It is told from the training set around the copied image, the model's LID of the image, and
    that of the images of reference prompts.
    """
    if training_set is None or copy is None or verdict not in COPY_VERDICTS:
        return None
    around = neighborhood_of(training_set, copy)
    if around is None:
        return None
    value, ends = math.nan, (math.nan, math.nan)
    if lid is not None:
        value, ends = lid.conditional, lid.interval
    model = ModelLids(Interval(value, *ends), usual_lid(reference))
    return judged_cause(model, around, training_set.cause)


def _unread(cut: str) -> str:
    return (
        "The end of its prompt was not read by the text encoder, so this speaks of the image and "
        f"not of the prompt as written ({len(cut):,} letters unread)."
    )


def _lid_words(lid: ImageLid | None) -> str:
    if lid is None or math.isnan(lid.conditional):
        return "Its LID could not be estimated."
    if math.isinf(lid.conditional):
        return "Its LID is not finite, so it says nothing."
    state, value = lid_state(lid), f"{shown_lid(lid.conditional):.1f}"
    if state == "not calibrated":
        why = "there are no reference images to compare it with"
        if lid.reference_images:
            few = f"{_reference_images(lid)} are too few to compare it with"
            why = f"{few}: {FEWEST_REFERENCE_IMAGES} are needed"
        return f"Its LID is {value}; LID is not calibrated for these settings: {why}."
    sentence = f"Its LID, {value}, {_place(lid)}."
    if state == "edge":
        low, high = lid.interval
        return (
            f"{sentence} Its 95 % interval, {shown_lid(low):.1f} to {high:.1f}, contains the "
            f"threshold below which an image is suspicious, {lid.threshold:.1f}, so its LID "
            "decides nothing."
        )
    if state == "above":
        return f"{sentence} The model generates no such images, so its LID says nothing."
    return sentence


def _place(lid: ImageLid) -> str:
    """Return the place of a LID among the reference images, in counts where they are known."""
    if not lid.reference_images and lid.percentile == 0:
        return "is at or below that of all reference images"
    if not lid.reference_images:
        return f"is above that of {whole_percent(lid.percentile)} of the reference images"
    below = round(lid.percentile * lid.reference_images)
    if below == lid.reference_images:
        return f"is above that of all {_reference_images(lid)}"
    if below:
        return f"is above that of {below:,} of {_reference_images(lid)}"
    return f"is at or below that of all {_reference_images(lid)}"


def _reference_images(lid: ImageLid) -> str:
    images = plural(lid.reference_images or 0, "reference image")
    return f"{images} of {plural(lid.reference_prompts or 0, 'prompt')}"
