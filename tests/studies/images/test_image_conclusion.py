"""What images show in words: the most severe verdict, its numbers, and what is not known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmh_core.memorization.cause import Cause, CauseLabel
from mmh_core.memorization.verdict import IMAGE_VERDICTS
from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.studies.images.conclusion import conclusion
from mmh_core.studies.images.run import ImageRun, ImageVerdict
from tests.drawn_runs import NAN, drawn_run, unsearched_run

#: What the search says of images of these verdicts; of others that it found no copy.
KINDS: dict[ImageVerdict, CopyKind] = {
    "exact copy": "exact",
    "template copy": "template",
    "likely copy, compare by eye": "likely",
}


def with_verdicts(*verdicts: ImageVerdict) -> ImageRun:
    run = drawn_run()
    images = []
    for image, verdict in zip(run.images, verdicts, strict=True):
        assert image.copy is not None
        copy = replace(image.copy, kind=KINDS.get(verdict, "none"))
        images.append(replace(image, verdict=verdict, copy=copy))
    return replace(run, images=tuple(images))


def four(verdict: ImageVerdict) -> tuple[ImageVerdict, ...]:
    return (verdict,) * 4


def test_copies_of_one_image_name_it_its_number_and_both_lids() -> None:
    found = conclusion(with_verdicts("exact copy", "exact copy", "not memorized", "not memorized"))
    # By hand: LIDs 5 and 11.5; reference images have 0, 1, ..., 100.
    assert found.finding == (
        "2 of 4 images reproduce training image 40, which stands in the training set 60 times: "
        "median LID 8.2, that of reference images 50."
    )
    assert "2 of 4 seeds: 95 % interval of the copy rate 7 to 93 %." in found.certainty


def test_the_copy_rate_is_of_the_images_that_the_search_decides() -> None:
    found = conclusion(
        with_verdicts(
            *("exact copy", "likely copy, compare by eye", "not memorized", "not memorized")
        )
    )
    # 1 of 3 by Clopper and Pearson: .975 = (1 - low)^3, .025 = (1 - high)^3 + 3 high (1 - high)^2.
    assert found.certainty == (
        "1 of 3 seeds that the search decides: 95 % interval of the copy rate 1 to 91 %."
    )


@pytest.mark.parametrize(
    ("label", "advice"),
    [
        ("DD-Mem", "Deduplicate the training set"),
        ("both", "Deduplicate the training set"),
        ("OD-Mem", "Train with more images or stop earlier"),
        ("not identifiable", "For the model as it is"),
    ],
)
def test_the_advice_is_that_of_the_cause(label: CauseLabel, advice: str) -> None:
    run = with_verdicts("exact copy", "not memorized", "not memorized", "not memorized")
    cause = Cause(label, "")
    images = tuple(replace(image, cause=cause) for image in run.images)
    found = conclusion(replace(run, images=images))
    assert found.recommendation.startswith(advice)
    assert found.finding.startswith("1 of 4 images reproduces training image 40")


def test_templates_are_no_copies_of_an_image() -> None:
    found = conclusion(with_verdicts(*four("template copy")))
    assert "reproduce the layout that several training images share" in found.finding


def test_none_of_few_seeds_leaves_many_open() -> None:
    found = conclusion(with_verdicts(*four("not memorized")))
    assert found.finding.startswith("None of 4 images is memorized: no copy among 1,234 training")
    # 1 - .025^(1 / 4), by hand.
    assert "0 of 4 seeds: 95 % interval of the copy rate 0 to 60 %." in found.certainty


def test_without_a_calibration_nothing_is_called_free() -> None:
    found = conclusion(unsearched_run())
    assert "cannot be judged" in found.finding and "not calibrated" in found.finding
    assert "no training images to search" in found.finding
    run = with_verdicts(*four("no copy found, LID not calibrated"))
    lids = tuple(replace(lid, percentile=NAN) for lid in run.images[0].lids)
    found = conclusion(replace(run, images=tuple(replace(i, lids=lids) for i in run.images)))
    assert "no copy was found among 1,234 training images" in found.finding
    assert "calibrate" in found.recommendation


@pytest.mark.parametrize("verdict", IMAGE_VERDICTS)
def test_every_verdict_has_a_conclusion_and_only_one_is_good(verdict: ImageVerdict) -> None:
    found = conclusion(with_verdicts(*four(verdict)))
    assert ("None of 4 images" in found.finding) == (verdict == "not memorized")
    assert found.finding.endswith(".") and found.recommendation and found.certainty


def test_no_image_has_no_conclusion() -> None:
    with pytest.raises(ValueError, match="without images"):
        conclusion(replace(drawn_run(), images=()))
