"""What is normal for a model by every detector: constants, percentiles, thresholds, refusals."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import LogisticRegression

from mmh_core.detectors.combined_score import check_labels, fit_combined
from mmh_core.detectors.lid import Lid
from mmh_core.detectors.lid_corrected import LidCorrected
from mmh_core.detectors.stability import Stability
from mmh_core.detectors.tuning import TunedSetting
from mmh_core.dimension.spectral import soft_spectral_count_exact
from mmh_core.records import LabelledPrompt, MMHError
from mmh_core.studies.detection.calibrate import calibrate_detectors, lid_noise_scale
from mmh_core.studies.detection.scores import DetectorScores, score_by_all
from mmh_core.subject.calibration import empty_calibration, read_calibration, update_calibration
from mmh_core.subject.detector_calibration import DetectorCalibration
from mmh_core.subject.early_calibration import early_calibration, score_prompts
from mmh_core.subject.subject import Subject
from mmh_core.text_to_image.model import TextToImage
from tests.detectors.worlds import DIM, world
from tests.text_to_image.conftest import ModelOf

SEEDS = (1, 2)
NORMAL = tuple(f"{a} {b}" for a in ("the", "a", "cat", "x") for b in ("cat", "a", "b", "th", "at"))
OTHERS = tuple(f"{word} x y" for word in ("the", "a", "cat", "b", "th"))
NAMES = ("early_scan", "stability", "region_map", "lid_corrected_dsm", "seed_agreement")
LOG_DELTA = -0.5


@pytest.fixture(scope="module")
def model(model_of: ModelOf) -> TextToImage:
    return replace(model_of("tiny"), steps=3, guidance=2.0)


def labelled(memorized: tuple[str, ...]) -> tuple[LabelledPrompt, ...]:
    return (
        *(LabelledPrompt(text, False, "normal", "calibration") for text in NORMAL),
        *(LabelledPrompt(text, True, "memorized", "calibration") for text in memorized),
    )


def calibrated(
    model: TextToImage,
    memorized: tuple[str, ...] = (),
    *,
    seeds: tuple[int, ...] = SEEDS,
    names: tuple[str, ...] = NAMES,
) -> DetectorCalibration:
    found, fractions = None, []
    for step in calibrate_detectors(
        labelled(memorized), Subject(model), seeds=seeds, log_delta=LOG_DELTA, names=names
    ):
        found = step.partial
        fractions.append(step.fraction)
    assert fractions == sorted(fractions) and fractions[-1] == 1
    assert found is not None
    return found


def scored(model: TextToImage, known: DetectorCalibration, *prompts: str) -> DetectorScores:
    found = None
    for step in score_by_all(model, known, prompts, fpr=0.1):
        found = step.partial
    assert found is not None
    return found


@pytest.fixture(scope="module")
def known(model: TextToImage) -> DetectorCalibration:
    return calibrated(model, OTHERS)


@pytest.fixture(scope="module")
def plain(model: TextToImage) -> DetectorCalibration:
    return calibrated(model)


def test_constants_are_those_of_the_normal_prompts_alone(known: DetectorCalibration) -> None:
    columns = {each.name: each.columns for each in known.estimates}
    assert {name: tuple(each.shape[:2]) for name, each in columns.items()} == {
        name: (20, 2) for name in NAMES
    }
    stability, corrected = known.detectors["stability"], known.detectors["lid_corrected_dsm"]
    assert isinstance(stability, Stability) and isinstance(corrected, LidCorrected)
    movement = columns["stability"].flatten(0, 1).double()
    assert stability.mean == pytest.approx(movement.mean(0).tolist(), rel=1e-6)
    assert stability.spread == pytest.approx(movement.std(0).tolist(), rel=1e-6)
    # A least-squares line leaves no residual on average over what it was fitted to.
    assert float(known.reference_scores("lid_corrected_dsm").mean()) == pytest.approx(0, abs=1e-3)


def test_labels_reach_times_and_combined_score_and_no_reading(
    known: DetectorCalibration, plain: DetectorCalibration
) -> None:
    assert (plain.high, plain.low) == (0.98, 0.04) and plain.combined is None
    assert known.combined is not None
    assert known.names == ("combined", *plain.names)
    assert known.prompts == plain.prompts == NORMAL
    for ours, theirs in zip(known.estimates, plain.estimates, strict=True):
        if ours.name != "early_scan":
            # Of another size are only the batches, in which convolutions round differently.
            torch.testing.assert_close(ours.columns, theirs.columns, rtol=1e-3, atol=2e-3)


def test_thresholds_and_percentiles_are_shares_of_the_normal_prompts(
    known: DetectorCalibration,
) -> None:
    for name in known.names:
        normal = known.reference_scores(name)
        assert len(normal) == 20 and bool((normal.diff() >= 0).all())
        assert int((normal > known.threshold(name, 0.0)).sum()) == 0
        assert int((normal > known.threshold(name, 0.1)).sum()) == 2
        ends = torch.stack([normal[0] - 1, (normal[9] + normal[10]) / 2, normal[-1] + 1])
        assert known.percentile(name, ends).tolist() == [0.0, 0.5, 1.0]
    with pytest.raises(ValueError, match="fpr must be"):
        known.threshold("stability", 1.0)
    with pytest.raises(ValueError, match="'magic' is not calibrated; choose from combined"):
        known.reference_scores("magic")


def test_a_prompt_alone_scores_as_it_did_among_others(
    model: TextToImage, known: DetectorCalibration
) -> None:
    place = 7
    found = scored(model, known, NORMAL[place])
    assert found.names == known.names and found.score.shape == (1, len(known.names))
    among = known.scores({each.name: each.columns.flatten(0, 1) for each in known.estimates})
    for k, name in enumerate(found.names):
        normal = known.reference_scores(name)
        # Rounding against the spread of reference prompts; where it turns a pixel of an image, the
        # size of its file is another.
        close = (0.1 if name == "lid_corrected_dsm" else 0.02) * float(normal.std())
        assert float(found.score[0, k]) == pytest.approx(float(among[name][place]), abs=close)
        share = float((normal < found.score[0, k]).double().mean())
        assert float(found.percentile[0, k]) == pytest.approx(share, abs=1e-6)
        assert bool(found.flagged[0, k]) == (float(found.score[0, k]) > known.threshold(name, 0.1))
    frame = found.frame()
    assert list(frame.detector) == list(known.names) and set(frame.prompt) == {NORMAL[place]}


def test_the_return_distance_of_a_prompt_is_the_same_alone_and_calibrated(
    model: TextToImage,
) -> None:
    calibration = calibrated(model, seeds=(1,), names=("return_distance",))
    assert calibration.estimates[0].nfe == 64
    result = scored(model, calibration, NORMAL[4], OTHERS[0])
    assert result.names == ("return_distance",)
    assert result.labels == ("Return distance (ReDiffuse variant)",)
    column = calibration.estimates[0].columns[4, 0]
    assert float(result.score[0]) == pytest.approx(-float(column.log()), abs=0.01)
    assert bool(((result.percentile >= 0) & (result.percentile <= 1)).all())
    assert calibration.settings("return_distance") == "as published"


def test_the_early_part_scans_alike(model: TextToImage, known: DetectorCalibration) -> None:
    early = known.early()
    torch.testing.assert_close(early.reference_scores(), known.reference_scores("early_scan"))
    score = score_prompts(model, early, NORMAL[:1]).score
    both = scored(model, known, NORMAL[0])
    torch.testing.assert_close(
        score, both.score[:, both.names.index("early_scan")], rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "0" * 64}, "with other weights than"),
        ({"steps": 4}, "is for 3 steps, guidance 2"),
        ({"guidance": 3.0}, "calibrate it again"),
    ],
)
def test_another_model_and_other_settings_are_refused(
    model: TextToImage, known: DetectorCalibration, change: dict[str, object], said: str
) -> None:
    known.check(model)
    with pytest.raises(MMHError, match=said):
        scored(replace(model, **change), known, "the cat")  # type: ignore[arg-type]


def test_it_is_kept_whole(model: TextToImage, known: DetectorCalibration, tmp_path: Path) -> None:
    path = tmp_path / "c.safetensors"
    update_calibration(path, replace(empty_calibration(model), detectors=known))
    again = read_calibration(path).detectors
    assert again is not None and again.names == known.names
    for name in known.names:
        assert torch.equal(again.reference_scores(name), known.reference_scores(name))


def test_one_early_scan_serves_scores_scans_and_the_combined_score(
    model: TextToImage, plain: DetectorCalibration, tmp_path: Path
) -> None:
    """Thresholds, percentiles and scores are those of the scan's own calibration everywhere."""
    prompts = [f"{text} {end}" for text in NORMAL for end in ("b", "th")]
    early = list(early_calibration(model, prompts, SEEDS, memorized=OTHERS))[-1].partial
    found = None
    for step in calibrate_detectors(
        labelled(OTHERS),
        Subject(model),
        seeds=SEEDS,
        log_delta=LOG_DELTA,
        names=NAMES,
        early=early,
    ):
        found = step.partial
    assert found is not None and found.early() is early and found.combined is not None
    assert (found.high, found.low) == (early.high, early.low)
    assert (
        torch.equal(found.reference_scores("early_scan"), early.reference_scores())
        and len(early.reference_scores()) == 40
    )
    said = scored(model, found, "the cat x")
    k = said.names.index("early_scan")
    assert float(said.threshold[k]) == early.threshold(0.1)
    assert float(said.score[0, k]) == pytest.approx(
        float(score_prompts(model, early, ["the cat x"]).score), abs=1e-3
    )
    # Its part of the combined score is the same reading in the same units.
    columns = next(each.columns for each in found.estimates if each.name == "early_scan")
    mine = early.detector().score(columns.flatten(0, 1)).reshape(-1, 2).mean(1)
    place = found.combined.names.index("early_scan")
    assert float(found.combined.mean[place]) == pytest.approx(float(mine.mean()), abs=1e-3)
    # Kept beside one another they are one; with another early scan the combined score is dropped.
    path, empty = tmp_path / "c.safetensors", empty_calibration(model)
    update_calibration(path, replace(empty, detectors=plain))
    update_calibration(path, replace(empty, early=early))
    again = read_calibration(path).detectors
    assert again is not None and torch.equal(
        again.reference_scores("early_scan"), early.reference_scores()
    )
    assert again.left_out == ()
    other = replace(found, early_scan=None, high=early.high, low=early.low)
    dropped = other.scanning_by(early)
    assert dropped.combined is None and "The combined score is left out" in dropped.left_out[0]
    for strange in (
        replace(early, sha256="0" * 64),
        replace(early, seeds=(5, 6)),
        replace(early, high=0.5),
    ):
        with pytest.raises(MMHError, match="make both anew"):
            other.scanning_by(strange)


def test_an_early_scan_with_a_reversed_sign_scores_reversed_and_scans_no_table(
    model: TextToImage, known: DetectorCalibration
) -> None:
    """A scan counts as published, so that it may not stand for a score that counts against it."""
    setting = TunedSetting("early_scan", known.high, -1, 0.9, 72, low=known.low)
    turned = replace(known, tuned=(setting,), combined=None)
    assert known.early() is not None and turned.early() is None
    published = known.reference_scores("early_scan")
    torch.testing.assert_close(turned.reference_scores("early_scan"), -published.flip(0))
    before, after = (scored(model, each, NORMAL[3]) for each in (known, turned))
    place, other = before.names.index("early_scan"), after.names.index("early_scan")
    torch.testing.assert_close(
        after.score[0, other], -before.score[0, place], rtol=1e-3, atol=0.01
    )
    assert float(after.percentile[0, other]) == pytest.approx(
        0.95 - float(before.percentile[0, place]), abs=0.051
    )
    assert (before.scan_reference_prompts, after.scan_reference_prompts) == (20, 0)
    kept = replace(setting, sign=1)
    assert replace(known, tuned=(kept,)).early() is not None


def test_a_sign_turned_before_the_fit_turns_its_weight_and_no_score() -> None:
    generator = torch.Generator().manual_seed(2)
    memorized = torch.arange(40) % 2 == 0
    scores = {
        name: torch.randn(40, generator=generator) + memorized
        for name in ("return_distance", "denoised_spread", "region_map")
    }
    plain = fit_combined(scores, memorized)
    assert plain.names == ("region_map", "denoised_spread", "return_distance")
    turned = {**scores, "return_distance": -scores["return_distance"]}
    other = fit_combined(turned, memorized)
    signs = torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(other.weights, signs * plain.weights, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(other.score(turned), plain.score(scores), rtol=1e-3, atol=1e-3)
    assert plain.score(scores)[memorized].mean() > plain.score(scores)[~memorized].mean()


@pytest.mark.parametrize("bad", [1, 9, 11, 20])
def test_normal_prompts_without_a_number_are_left_out_or_refused(
    plain: DetectorCalibration, bad: int
) -> None:
    estimates = []
    for each in plain.estimates:
        columns = each.columns.clone()
        if each.name == "region_map":
            columns[:bad] = torch.nan
        estimates.append(replace(each, columns=columns))
    found = replace(plain, estimates=tuple(estimates))
    if bad > 10:
        with pytest.raises(MMHError, match=f"no number for {bad} of 20 reference prompts"):
            found.threshold("region_map", 0.01)
        return
    normal = plain.estimates[NAMES.index("region_map")].columns[bad:].flatten(1)
    assert len(found.reference_scores("region_map")) == 20 - bad == len(normal)
    assert found.threshold("region_map", 0.01) == float(found.reference_scores("region_map").max())
    nothing = torch.tensor([torch.nan, torch.inf])
    assert found.percentile("region_map", nothing).isnan().tolist() == [True, False]


def test_a_prompt_taken_for_the_empty_one_is_flagged_by_nothing(
    model: TextToImage, plain: DetectorCalibration
) -> None:
    known = model.encode_text(["the cat"])
    silent = replace(model, unconditional=known)
    found = scored(silent, plain, "the cat", "x b")
    assert bool(found.score[0].isnan().all()) and not bool(found.flagged[0].any())
    assert bool(found.score[1].isfinite().all())


def test_few_steps_and_one_seed_leave_out_what_needs_more(model: TextToImage) -> None:
    names = ("guidance_norm_10", "guidance_norm_all", "seed_agreement")
    assert calibrated(model, seeds=(1,), names=names).names == ("guidance_norm_all",)


def test_without_normal_prompts_or_with_few_others_nothing_is_measured(
    model: TextToImage,
) -> None:
    only = labelled(OTHERS)[len(NORMAL) :]
    for prompts, said in (
        (only, "no reference prompts"),
        (labelled(OTHERS[:4]), "there are 4 and"),
    ):
        with pytest.raises(MMHError, match=said):
            next(iter(calibrate_detectors(prompts, Subject(model), log_delta=LOG_DELTA)))


def test_the_scale_of_lid_lies_where_the_data_is_wide() -> None:
    """Gaussians of variance .7 to 1.6 in 32 dimensions have all of them on their plateau."""
    model = replace(world(), steps=12, guidance=1.0)
    scale = lid_noise_scale(model, ["ordinary", "another"], 3)
    assert scale <= math.log(0.4)
    cond = torch.eye(4)[2][None, None]
    found = soft_spectral_count_exact(model.score_model, torch.zeros(1, 2, 4, 4), scale, cond=cond)
    assert found.lid.item() == pytest.approx(DIM, abs=1.0)
    assert Lid().log_delta != scale


def test_the_combined_score_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(0)
    memorized = torch.arange(60) % 3 == 0
    scores = {
        "early_scan": torch.randn(60, generator=generator) + 1.5 * memorized,
        "region_map": 100 * torch.randn(60, generator=generator),
        "stability": torch.randn(60, generator=generator),
    }
    found = fit_combined(scores, memorized)
    assert found.names == ("early_scan", "region_map")
    x = torch.stack([scores[name] for name in found.names], dim=1).double()
    x = (x - x[~memorized].mean(0)) / x[~memorized].std(0)
    theirs = LogisticRegression(max_iter=10_000).fit(x.numpy(), memorized.numpy())
    expected = torch.from_numpy(theirs.decision_function(x.numpy()))
    torch.testing.assert_close(found.score(scores), expected)
    # Two normals 1.5 apart: error Phi(-.75) = .23 at best, area Phi(1.5 / sqrt 2) = .86.
    assert found.cv_error == pytest.approx(0.23, abs=0.12)
    assert found.cv_auc == pytest.approx(0.86, abs=0.08)


def test_cross_validation_does_not_flatter() -> None:
    """Labels that say nothing are told no better than by chance, though the fit tells them."""
    generator = torch.Generator().manual_seed(1)
    names = ("early_scan", "region_map", "seed_agreement", "guidance_norm_all")
    areas, errors = [], []
    for _ in range(20):
        noise = {name: torch.randn(30, generator=generator) for name in names}
        found = fit_combined(noise, torch.arange(30) % 2 == 0)
        areas.append(found.cv_auc)
        errors.append(found.cv_error)
    # An area on 15 prompts of each label varies by .11, the mean of twenty by .03. That of the
    # fit to its own prompts would be about .7.
    assert torch.tensor(areas).mean().item() == pytest.approx(0.5, abs=0.09)
    assert torch.tensor(errors).mean().item() == pytest.approx(0.5, abs=0.09)
    apart = torch.arange(200) < 100
    sure = {"early_scan": apart * 10.0 + torch.randn(200, generator=generator)}
    told = fit_combined(sure, apart)
    assert (told.cv_auc, told.cv_error) == (1.0, 0.0)
    with pytest.raises(MMHError, match="there are 4 and 6"):
        check_labels(torch.arange(10) < 4)
    with pytest.raises(ValueError, match="none was run"):
        fit_combined({"stability": sure["early_scan"]}, apart)


def test_a_detector_that_the_run_does_not_suffice_for_is_named(model: TextToImage) -> None:
    names = ("guidance_norm", "guidance_norm_10", "seed_agreement", "attention_entropy")
    calibration = calibrated(model, seeds=(0,), names=names)
    assert list(calibration.detectors) == ["guidance_norm", "attention_entropy"]
    assert [sentence.partition(" is left out: ")[2] for sentence in calibration.left_out] == [
        "it needs 10 sampling steps, and there are 3.",
        "it needs two seeds.",
    ]
