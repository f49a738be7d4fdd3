"""Two runs side by side: what differs, which images belong together, and what it amounts to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmh_core.retrieval.copy_evidence import CopyKind
from mmh_core.studies.images.comparison import compare_runs
from mmh_core.studies.images.run import ImageRun
from tests.drawn_runs import drawn_run, noise, unsearched_run

EXACT: CopyKind = "exact"
NONE: CopyKind = "none"


def with_kinds(*kinds: CopyKind, prompt: str = "", first_seed: int = 0) -> ImageRun:
    """Return a run of one prompt with one image for each kind, from the seed on."""
    drawn = drawn_run()
    prompt = prompt or drawn.config.prompts[0]
    images = tuple(
        replace(
            drawn.images[0],
            index=place,
            prompt=prompt,
            seed=first_seed + place,
            image=noise(first_seed + place),
            copy=None
            if drawn.images[0].copy is None
            else replace(drawn.images[0].copy, kind=kind),
        )
        for place, kind in enumerate(kinds)
    )
    seeds = tuple(image.seed for image in images)
    config = replace(drawn.config, prompts=(prompt,), seeds=seeds)
    return replace(drawn, config=config, images=images)


def with_guidance(run: ImageRun, guidance: float) -> ImageRun:
    sampling = replace(run.config.sampling, guidance=guidance)
    return replace(run, config=replace(run.config, sampling=sampling))


def other_pixels(run: ImageRun) -> ImageRun:
    images = tuple(replace(image, image=noise(900 + image.seed)) for image in run.images)
    return replace(run, images=images)


def test_settings_that_differ_come_first_and_are_the_only_ones_marked() -> None:
    first = with_kinds(EXACT, EXACT)
    compared = compare_runs(first, with_guidance(first, 3.0))
    assert [(s.name, s.first, s.second) for s in compared.differing] == [("Guidance", "7.5", "3")]
    assert compared.settings[0].name == "Guidance" and len(compared.settings) > 10
    assert not any(setting.differs for setting in compared.settings[1:])


def test_images_are_aligned_by_seed_and_those_of_one_run_come_last() -> None:
    first, second = with_kinds(EXACT, NONE, EXACT), with_kinds(NONE, NONE, first_seed=1)
    pairs = compare_runs(first, second).pairs
    assert [pair.seed for pair in pairs] == [1, 2, 0]
    for pair in pairs[:2]:
        assert pair.first is not None and pair.second is not None
        assert pair.first.seed == pair.second.seed == pair.seed
        assert pair.is_equal
    assert pairs[2].first is first.images[0] and pairs[2].second is None
    assert not pairs[2].is_equal


def test_equal_prompts_stand_together_and_the_others_in_their_order() -> None:
    first = drawn_run()
    names = ("a", "b", "a red fox")
    config = replace(first.config, prompts=names)
    pairs = compare_runs(first, replace(first, config=config)).pairs
    assert {pair.prompts for pair in pairs if pair.first and pair.second} == {
        ("a red fox", "a red fox")
    }
    assert [pair.prompts for pair in pairs[2:]] == [(first.config.prompts[1], "a")] * 2


def test_the_finding_counts_copies_changes_and_both_lids() -> None:
    first, second = with_kinds(*[EXACT] * 4), other_pixels(with_kinds(EXACT, NONE, NONE, NONE))
    lids = tuple(
        replace(image, lids=(replace(image.lids[0], conditional=14.25),))
        for image in second.images
    )
    compared = compare_runs(first, replace(second, images=lids))
    assert compared.conclusion().finding == (
        "The first run copies training images in 4 of 4 images, the second copies training images "
        "in 1 of 4 images; of 4 seeds in both, 3 are copied by the first alone and 0 by the "
        "second alone; the median LID is 5.0 in the first and 14.2 in the second."
    )
    certainty = compared.conclusion().certainty
    assert certainty.startswith(
        "Over 4 seeds in both the copy rate changes by -75 percentage poin"
    )


def test_lids_of_other_weights_or_settings_are_compared_by_percentile_alone() -> None:
    first = with_kinds(EXACT, NONE)
    for second in (with_guidance(first, 3.0), replace(first, sha256="1e" * 32)):
        drawn = compare_runs(first, other_pixels(second)).conclusion()
        assert "median LID percentile is 0% in the first and 0% in the second" in drawn.finding
        assert "do not compare as numbers" in drawn.certainty
    drawn = compare_runs(first, other_pixels(first)).conclusion()
    assert "median LID is 5.0" in drawn.finding and "as numbers" not in drawn.certainty


def test_equal_images_are_said_to_be_equal() -> None:
    drawn = compare_runs(with_kinds(EXACT, NONE), with_kinds(EXACT, NONE)).conclusion()
    assert drawn.finding.startswith(
        "Both runs show the same 2 images, pixel for pixel; each copies training images in 1 of 2 "
    )
    assert drawn.recommendation.startswith("Change one setting")


@pytest.mark.parametrize(
    ("second", "advice"),
    [
        (other_pixels(with_kinds(EXACT)), "No setting differs that changes an image"),
        (with_guidance(other_pixels(with_kinds(EXACT)), 3.0), "Only the guidance differs"),
        (replace(with_kinds(EXACT), model="other", sha256="1e" * 32), "Only the model differs"),
        (
            with_guidance(with_kinds(EXACT, prompt="a blue fox"), 3.0),
            "2 settings differ that change an image (prompt, guidance)",
        ),
        (with_kinds(EXACT, first_seed=9), "Generate both with the same seeds"),
    ],
)
def test_the_advice_follows_from_what_differs(second: ImageRun, advice: str) -> None:
    assert compare_runs(with_kinds(EXACT), second).conclusion().recommendation.startswith(advice)


def test_without_a_search_no_copy_is_counted() -> None:
    drawn = compare_runs(drawn_run(), other_pixels(unsearched_run())).conclusion()
    assert "the second has no image of which a search decides" in drawn.finding
    assert drawn.certainty.startswith("The copy rates cannot be compared")
    assert "searched in different training sets" in drawn.certainty


def test_other_sizes_start_from_other_noise() -> None:
    first = with_kinds(EXACT)
    sampling = replace(first.config.sampling, height=24)
    second = replace(first, config=replace(first.config, sampling=sampling))
    assert "starts from different noise" in compare_runs(first, second).conclusion().certainty


def test_the_table_has_a_row_for_each_seed_with_the_figures_of_both_images() -> None:
    table = compare_runs(with_kinds(EXACT, NONE), with_kinds(NONE)).frame()
    assert table.seed.tolist() == [0, 1]
    assert table.first_copy.tolist() == ["exact", "none"]
    assert table.second_copy[0] == "none" and table.second_copy.isna().tolist() == [False, True]
    assert table.first_lid.tolist() == [5.0, 5.0]
    assert table.first_similarity.tolist() == [0.97, 0.97]
    assert table.second_lid.isna().tolist() == [False, True]
