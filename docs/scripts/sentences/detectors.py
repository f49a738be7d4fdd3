"""Sentences on the benchmark of detectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from docs.scripts.figures import BARS, PERCENT, figure, holds, percent, read, spaced
from mmh_core.records import MMHError
from mmh_core.subject.calibration import calibration_beside
from mmh_core.subject.early_calibration import PUBLISHED_TIMES, EarlyCalibration
from mmh_core.subject.reference_scores import FlaggedCount, threshold_among

ASSETS = Path(__file__).resolve().parents[3] / "assets" / "pocket-sd"
#: The share of reference prompts that may be flagged.
SHARE = 0.01
#: An AUC below this is worse than chance.
CHANCE = 0.5


def counted(data: Path) -> str:
    """Return what the table of detectors counts, and the bars."""
    run = read(data / "benchmark.json")
    part = run["detectors"][0]["all"]
    (auc, rate), (early, early_rate), (without,) = (
        [figure(bar, 2) for bar in BARS[name]]
        for name in ("best detector", "early scan", "unconditional LID")
    )
    return (
        f"On the shipped model: {part['positives']} memorized and {part['negatives']} reference "
        f"prompts of the test half, on which nothing was fitted, {len(run['seeds'])} seeds each; "
        f"{PERCENT} intervals over prompts. NFE is for each image, in brackets that "
        "of the generation from which the score is computed. Paraphrases are counted apart. The "
        "threshold of the true-positive rate (TPR) is set on these reference prompts. Bars for "
        f"AUC and TPR: best detector {auc} and {rate}, early scan {early} and {early_rate}; for "
        f"the AUC of LID without a caption {without}."
    )


def thresholds(data: Path) -> str:
    """Return what the thresholds of the calibration find in the test half."""
    run = read(data / "benchmark.json")
    early = _detector(run, _scanning(run))
    captions, paraphrases, alarms = _flagged(run, early)
    exceeded = sum(score > _threshold(early) for score in early["normal"])
    few = _detector(run, "sharpness")["normal"]
    flagged = {
        name: _flagged(run, _detector(run, name))[2].flagged for name in ("sharpness", "stability")
    }
    return spaced(
        "The threshold that `score`, `scan`, the images page and the benchmark page share is "
        f"{_threshold(early):.2f}, exceeded by {exceeded} of the {len(early['normal'])} reference "
        "prompts of its own calibration. At it the early scan finds "
        f"{captions.flagged} of {captions.total} captions as trained with ({captions.words()}) "
        f"and {paraphrases.flagged} of {paraphrases.total} paraphrases of such captions "
        f"({paraphrases.words()}), and flags {alarms.flagged or 'none'} of the {alarms.total} "
        "reference prompts. In the table, whose threshold is set on the test half's own reference "
        f"prompts, it finds {percent(early['all']['tpr'])}. The other detectors have {len(few)} "
        "reference prompts in their calibration and a threshold above all of them, which a new "
        f"one exceeds about once in {len(few) + 1} at best: of the {alarms.total} reference "
        f"prompts sharpness flags {flagged['sharpness']} and stability {flagged['stability']}."
    )


def failures(data: Path) -> str:
    """Return which published detectors fail on so small a model, and why."""
    run = read(data / "benchmark.json")
    combined = (
        f"Within the calibration half the combined score has an AUC of "
        f"{figure(run['combined']['cv_auc'], 3)} by cross-validation; "
    )
    if turned := _tuned(run):
        return (
            "Times, noise scales and signs of all detectors are set by one rule, on the labels of "
            f"the calibration half; the sign came out reversed for {turned}. {combined}free "
            "settings and the standardization were chosen before the folds."
        )
    for name in ("guidance_norm_all", "lid_difference_flipd", "lid_difference_dsm"):
        holds(_detector(run, name)["all"]["auc"] < CHANCE, f"{name} ranks the wrong way round")
    early = _early()
    return (
        "Some published detectors fail on so small a model or rank the wrong way round. Its "
        "guidance fades where a copy is certain, so the norm over all steps is *low* for "
        "memorized prompts. LID is small with and without the caption, so their difference says "
        "nothing. The signs are left as published. The early scan uses t = "
        f"{figure(early.high, 1)} and {figure(early.low, 1)}, chosen on the calibration half's "
        f"labels; the published times ({figure(PUBLISHED_TIMES[0], 2)} and "
        f"{figure(PUBLISHED_TIMES[1], 2)}) are for larger latents. {combined}the times of the "
        "early scan and the standardization were chosen before the folds."
    )


def _tuned(run: Any) -> str:
    """Return the labels of detectors whose sign the rule reversed, "" for a file before the rule.

    "none" where the rule reversed none.
    """
    settings = {row["label"]: row.get("settings") or "" for row in run["detectors"]}
    if not any("best of" in words for words in settings.values()):
        return ""
    return ", ".join(name for name, words in settings.items() if "reversed" in words) or "none"


def _scanning(run: Any) -> str:
    """Return the name of the row whose threshold is that by which tables are scanned."""
    return "scan" if any(row["name"] == "scan" for row in run["detectors"]) else "early_scan"


def _detector(run: Any, name: str) -> Any:
    return next(row for row in run["detectors"] if row["name"] == name)


def _threshold(row: Any) -> float:
    return threshold_among(torch.tensor(row["normal"]).sort().values, SHARE)


def _flagged(run: Any, row: Any) -> list[FlaggedCount]:
    """Return how many captions, paraphrases and reference prompts exceed the threshold."""
    groups: dict[str, list[bool]] = {"caption": [], "paraphrase": [], "reference": []}
    for prompt, score in zip(run["prompts"], row["scores"], strict=True):
        kind = "paraphrase" if prompt["kind"] == "paraphrase" else "caption"
        groups[kind if prompt["memorized"] else "reference"].append(score > _threshold(row))
    return [FlaggedCount(sum(flags), len(flags)) for flags in groups.values()]


def _early() -> EarlyCalibration:
    early = calibration_beside(ASSETS).early
    if early is None:
        raise MMHError(f"{ASSETS} holds no calibration: build it again.")
    return early
