"""Sentences on the estimators of LID and on the shipped model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from docs.scripts.figures import (
    BARS,
    check_of_model,
    figure,
    holds,
    listed,
    magnitude,
    percent,
    read,
)
from mmh_core.counting import agreeing, plural
from mmh_core.pocket.second.plan import SecondConfig
from mmh_core.subject.calibration import calibration_beside

ASSETS = Path(__file__).resolve().parents[3] / "assets" / "pocket-sd"


#: The manifolds of the trained networks, in the order of the bars.
CASES = ("lollipop", "affine-10", "affine-100")


def closed_forms(data: Path) -> str:
    """Return how far the estimators lie from their formulas."""
    rows = read(data / "closed-forms.json")["analytic"]
    exact = [row for row in rows if row["standard_error"] == 0]
    error = max(abs(row["measured"] - row["expected"]) for row in exact)
    return (
        "On Gaussians with known answers every estimator, in five parameterisations (eps, `x0`, "
        f"v, flow, EDM), lies within {max(row['deviation'] for row in rows):.1f} standard errors "
        "of the formula that it should follow, bias included. The deterministic ones agree with "
        f"it to {magnitude(error)}, and the parameterisations with one another to "
        f"{magnitude(max(row['across_targets'] for row in rows))}."
    )


def trained_networks(data: Path) -> str:
    """Return what the errors on trained networks are errors of, and the bars."""
    cases = [read(data / f"trained-{case}.json")["trained"] for case in CASES]
    bars = listed([figure(bar, 2) for bar in BARS["estimators"]])
    points = listed([str(case[0]["queries"]) for case in cases])
    return (
        "Mean absolute error of LID at held-out points, the noise scale chosen without the truth: "
        f"the mean over {plural(len(cases[0]), 'network')} with data of their own, the least and "
        "the largest of them, and in brackets the mean concordance (Harrell's C). The points are "
        f"{points}; bars for the best estimator of the model: {bars}."
    )


def jacobian_rank(data: Path) -> str:
    """Return the error of the rank of a decoder's Jacobian."""
    found = [
        f"{figure(row['mean_abs_error_count'], 3)} on {row['manifold']} "
        f"({figure(row['mean_abs_error_soft'], 3)} counted softly)"
        for row in read(data / "closed-forms.json")["generators"]
    ]
    return f"The Jacobian rank of a small VAE's decoder errs by {listed(found)}."


def circle(data: Path) -> str:
    """Return how many samples of the circle have the LID that they should."""
    rows = read(data / "circle-seeds.json")
    config, run = read(data / "circle.json")["config"], read(data / "circle.json")
    near, arc = (
        percent(1 - sum(row[f"{part}_wrong"] for row in rows) / sum(row[part] for row in rows), 1)
        for part in ("near", "arc")
    )
    return (
        f"So {near} of the samples near isolated points and {arc} of those on the arc have "
        "the LID that they should. The setting "
        f"({config['points']} points, {run['steps']:,} steps) was chosen on other seeds, as the "
        "script says; those of the table were counted once, afterwards. The points of the arc are "
        "spaced evenly by its density: with independent angles the outermost ones are isolated "
        "points themselves."
    )


def exact_copies(data: Path) -> str:
    """Return the LID of the main part and of the isolated points of od-exact."""
    found = read(data / "od-exact.json")
    main, isolated = found["components"]["main"], found["components"]["isolated"]
    holds(isolated["mean_lid"] == 0, "all isolated points have no dimension left")
    return (
        f"All {isolated['points']} isolated training points have LID {isolated['mean_lid']:.0f}. "
        f"The main part has {main['mean_lid']:.2f} on average, where {found['typical_lid']:.0f} "
        "is right; what is lower lies at its edge."
    )


def digits(data: Path) -> str:
    """Return the LID that the digits have by all of them."""
    own = [read(path)["typical_lid"] for path in sorted(data.glob("digits-*.json"))]
    return (
        "By ESS over all digits, not only those trained on, the training images have a median LID "
        f"of {min(own):.1f} to {max(own):.1f}."
    )


def embedded_model(data: Path) -> str:
    """Return how the figures of the shipped model were counted, and how it was built."""
    training = read(ASSETS / "model_card.json")["training"]
    chosen = calibration_beside(ASSETS).lid_noise_scale
    holds(chosen is not None, "calibration chose a noise scale")
    scale = math.exp(chosen.log_delta) if chosen is not None else math.nan
    short = [row.figure for row in check_of_model(data).short]
    steps = _steps(training)
    missed_bars = f"{plural(len(short), 'bar')} {agreeing(len(short), 'is', 'are')} missed"
    bars = f"{missed_bars} ({listed(short)})." if short else "All bars hold."
    return (
        f"{bars} LID is the soft spectral count at the noise scale "
        f"{figure(scale, 2)}, chosen by calibration. Built with `./mmh pocket build`: autoencoder "
        f"{steps['autoencoder']} steps, CLIP {steps['clip']}, descriptor {steps['descriptor']}, "
        f"denoiser {steps['denoiser']}. Very fine detail (glasses, windows) is still soft."
    )


def _steps(training: dict[str, Any]) -> dict[str, str]:
    """Return how many steps each part was trained, by what the card says of the training."""
    parts = ("autoencoder", "clip", "descriptor", "denoiser")
    if training.get("world") == 2:
        config = SecondConfig()
        holds(training["config"] == repr(config), "the model is built by the usual config")
        return {part: f"{getattr(config, part).fitting.steps:,}" for part in parts}
    return {part: f"{training[part]['fitting']['steps']:,}" for part in parts}


def recolored(data: Path) -> str:
    """Return how many images in other colors were searched for, and what stays undecided."""
    rows = read(data / "recolored.json")
    counts = {
        part: max(_counted(row[part], said, rest) for row in rows)
        for part, said, rest in (("training", "found", "missed"), ("held_out", "false", "none"))
    }
    asis = next(row for row in rows if row["change"] == "as it is")["held_out"]["undecided"]
    return (
        f"{counts['training']} training images and {counts['held_out']} held-out ones of no "
        "template, none of which chose a threshold; intervals by Clopper and Pearson; one thread, "
        'beside other work. *Found* or *false* is a copy or a likely one; *undecided* is "cannot '
        'be judged"; *missed* and *none* are "no copy". The fit knows shapes alone: of the '
        f"held-out images as they are {asis} in {counts['held_out']} are undecided, because "
        "another image of the same shapes looks like a recolored copy."
    )


def _counted(part: dict[str, Any], said: str, rest: str) -> int:
    """Return how many images a row counts, from a share of them and the counts of the rest."""
    share, others = part[said][0], part["undecided"] + part[rest]
    return round(others / (1 - share)) if share < 1 else 0
