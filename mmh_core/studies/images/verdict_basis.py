"""What images are judged by, generated ones and those of a file alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from mmh_core.retrieval.pixel_match import is_flat
from mmh_core.studies.images.lid import deciding_lids, estimate_lids
from mmh_core.studies.images.run import ImageResult, image_batch
from mmh_core.studies.images.verdict import cause_in, verdict_of
from mmh_core.subject.image_lid import ImageLid
from mmh_core.subject.reference_prompts import ReferencePrompts
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

        They have their percentile among the reference prompts, and as many probes as a verdict
        needs: `estimate_lids` at the LIDs where verdicts turn.
        """
        levels, reference = deciding_lids(self.reference), self.reference
        for lids in estimate_lids(
            self.model, images, self.log_delta, negative=self.negative, levels=levels
        ):
            yield lids if reference is None else [reference.with_percentile(lid) for lid in lids]

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
