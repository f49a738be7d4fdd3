"""What images are judged by, generated ones and those of a file alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmh_core.memorization.cause import ModelLids, TrainingNeighborhood, cause_of
from mmh_core.memorization.verdict import COPY_VERDICTS
from mmh_core.records import LidEstimate
from mmh_core.retrieval.pixel_match import is_flat
from mmh_core.statistics.intervals import Interval
from mmh_core.studies.images.lid import SettledImage, estimate_lids
from mmh_core.studies.images.lid_passes import clear_of, sure_half_width
from mmh_core.studies.images.run import ImageResult, image_batch
from mmh_core.studies.images.verdict import VERDICTS, cause_in, neighborhood_of, verdict_of
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts, usual_lid
from mmh_core.subject.training_set import TrainingSet
from mmh_core.text_to_image.model import TextToImage


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
