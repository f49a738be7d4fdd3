"""The manifolds of this project by name: what each is called, how it is sampled and plotted."""

from __future__ import annotations

import math
from functools import partial

from mmh_core.manifolds import curves, presets, surfaces
from mmh_core.manifolds.affine import affine_mixture, squiggly_mixture
from mmh_core.manifolds.digits import DIGIT_COUNT, DIGIT_SHAPE, digits
from mmh_core.manifolds.specs import (
    ManifoldSpec,
    affine_in,
    copied,
    multiscale_with,
    plain,
    sampled,
)


def _sheet(
    case: presets.SheetCase, label: str, blurb: str, *, points: int, duplicates: int = 0
) -> ManifoldSpec:
    return ManifoldSpec(
        name=case,
        label=label,
        blurb=blurb,
        ambient_dim=3,
        shape=(3,),
        default_points=points,
        default_duplicates=duplicates,
        max_points=20_000,
        training=partial(presets.sheet_training, case),
        truth=partial(presets.sheet_truth, case),
        preset=True,
        plot="space",
    )


MANIFOLDS: dict[str, ManifoldSpec] = {
    "circle": ManifoldSpec(
        name="circle",
        label="Circle with isolated points",
        blurb="A dense arc of a circle and seven isolated training points, which a model trained "
        "for long copies although the truth is the whole circle.",
        ambient_dim=2,
        shape=(2,),
        default_points=47,
        default_duplicates=0,
        max_points=20_000,
        training=presets.circle_training,
        truth=presets.circle_truth,
        preset=True,
        plot="plane",
    ),
    "circle-duplicates": ManifoldSpec(
        name="circle-duplicates",
        label="Circle with a duplicated point",
        blurb="A dense arc of a circle and one point that the data repeats many times, so that "
        "even a perfect model copies it.",
        ambient_dim=2,
        shape=(2,),
        default_points=107,
        default_duplicates=30,
        max_points=20_000,
        training=presets.circle_duplicates_training,
        truth=presets.circle_duplicates_truth,
        preset=True,
        plot="plane",
    ),
    "od-exact": _sheet(
        "od-exact",
        "Sheet: overfitting, exact copies",
        "The truth is a surface, but its left part has only five training points, and an "
        "overfitted model turns them into points.",
        points=505,
    ),
    "od-line": _sheet(
        "od-line",
        "Sheet: overfitting to a curve",
        "The truth is a surface, but the training points of its left part happen to lie along a "
        "curve, and the model learns only the curve.",
        points=600,
    ),
    "good-fit": _sheet(
        "good-fit",
        "Sheet: good fit",
        "The truth is a surface with enough training points everywhere, so that the learned "
        "dimension is the true one.",
        points=1_000,
    ),
    "dd-exact": _sheet(
        "dd-exact",
        "Sheet: duplicates in the data",
        "The data itself repeats five points on the left, so that learning them as points is "
        "correct and only other data would help.",
        points=505,
        duplicates=45,
    ),
    "dd-line": _sheet(
        "dd-line",
        "Sheet: a curve in the data",
        "The truth itself is a curve on the left, so that learning a curve there is correct.",
        points=600,
    ),
    "poor-fit": _sheet(
        "poor-fit",
        "Sheet: poor fit",
        "The training points of the good fit, for a model that is trained far too briefly to say "
        "anything about memorization.",
        points=1_000,
    ),
    "von-mises": plain(
        "von-mises",
        "Three arcs of a circle",
        "A mixture of three von Mises distributions on the unit circle: dimension 1.",
        ambient_dim=2,
        plot="plane",
        sampler=partial(
            curves.von_mises_mixture,
            locations=(0.0, 2 * math.pi / 3, 4 * math.pi / 3),
            concentrations=(50.0, 20.0, 8.0),
            weights=(0.5, 0.3, 0.2),
        ),
    ),
    "sphere": plain(
        "sphere",
        "Sphere",
        "The unit sphere in three dimensions, uniform by area: dimension 2.",
        ambient_dim=3,
        plot="space",
        sampler=surfaces.sphere,
    ),
    "torus": plain(
        "torus",
        "Torus",
        "A ring with radii 1 and 0.5, uniform by area: dimension 2.",
        ambient_dim=3,
        plot="space",
        sampler=surfaces.torus,
    ),
    "swiss-roll": plain(
        "swiss-roll",
        "Swiss roll",
        "A rolled-up sheet whose windings come close to each other: dimension 2.",
        ambient_dim=3,
        plot="space",
        sampler=surfaces.swiss_roll,
    ),
    "spiral": plain(
        "spiral",
        "Spiral",
        "An Archimedean spiral of two turns, uniform by length: dimension 1.",
        ambient_dim=2,
        plot="plane",
        sampler=curves.spiral,
    ),
    "lollipop": plain(
        "lollipop",
        "Lollipop",
        "A disc, a stick and a dot: dimensions 2, 1 and 0.",
        ambient_dim=2,
        plot="plane",
        sampler=surfaces.lollipop,
    ),
    "doughnut": plain(
        "doughnut",
        "Circle inside a torus",
        "A torus of dimension 2 with a circle of dimension 1 in its middle.",
        ambient_dim=3,
        plot="space",
        sampler=surfaces.doughnut,
    ),
    "affine-10": plain(
        "affine-10",
        "Affine subspaces (2, 4, 8 in R^10), uniform",
        "Three flat uniform pieces of dimensions 2, 4 and 8 in ten dimensions.",
        ambient_dim=10,
        plot="projection",
        sampler=affine_in(affine_mixture, (2, 4, 8), 10),
    ),
    "affine-10-gaussian": plain(
        "affine-10-gaussian",
        "Affine subspaces (2, 4, 8 in R^10), Gaussian",
        "Three flat Gaussian pieces of dimensions 2, 4 and 8 in ten dimensions.",
        ambient_dim=10,
        plot="projection",
        sampler=affine_in(partial(affine_mixture, distribution="gaussian"), (2, 4, 8), 10),
    ),
    "affine-10-laplace": plain(
        "affine-10-laplace",
        "Affine subspaces (2, 4, 8 in R^10), Laplace",
        "Three flat heavy-tailed pieces of dimensions 2, 4 and 8 in ten dimensions.",
        ambient_dim=10,
        plot="projection",
        sampler=affine_in(partial(affine_mixture, distribution="laplace"), (2, 4, 8), 10),
    ),
    "affine-100": plain(
        "affine-100",
        "Affine subspaces (10, 30, 90 in R^100), uniform",
        "Three flat uniform pieces of dimensions 10, 30 and 90 in a hundred dimensions.",
        ambient_dim=100,
        plot="projection",
        sampler=affine_in(affine_mixture, (10, 30, 90), 100),
    ),
    "affine-100-mid": plain(
        "affine-100-mid",
        "Affine subspaces (10, 25, 50 in R^100), uniform",
        "Three flat uniform pieces of dimensions 10, 25 and 50 in a hundred dimensions.",
        ambient_dim=100,
        plot="projection",
        sampler=affine_in(affine_mixture, (10, 25, 50), 100),
    ),
    "affine-800": plain(
        "affine-800",
        "Affine subspaces (10, 80, 200 in R^800), uniform",
        "Three flat uniform pieces of dimensions 10, 80 and 200 in eight hundred dimensions.",
        ambient_dim=800,
        plot="projection",
        sampler=affine_in(affine_mixture, (10, 80, 200), 800),
    ),
    "squiggly-10": plain(
        "squiggly-10",
        "Curved manifolds (2, 4, 8 in R^10)",
        "The pieces of dimensions 2, 4 and 8 in ten dimensions, bent by a smooth map.",
        ambient_dim=10,
        plot="projection",
        sampler=affine_in(squiggly_mixture, (2, 4, 8), 10),
    ),
    "multiscale": plain(
        "multiscale",
        "Gaussian with three scales",
        "A Gaussian with two wide, three narrow and five all but flat directions, whose dimension "
        "depends on how closely one looks: 2, then 5, then 10.",
        ambient_dim=10,
        plot="projection",
        # Standard deviations 1, .1 and .001; LID 5 is declared at the scale .01 between them.
        sampler=multiscale_with((1.0,) * 2 + (1e-2,) * 3 + (1e-6,) * 5, 1e-4),
    ),
    "digits": ManifoldSpec(
        name="digits",
        label="Handwritten digits",
        blurb="Real images of 8 by 8 pixels, whose true dimension nobody knows.",
        ambient_dim=64,
        shape=DIGIT_SHAPE,
        default_points=1_000,
        default_duplicates=0,
        max_points=DIGIT_COUNT,
        training=partial(copied, digits),
        truth=partial(sampled, digits),
        preset=True,
        plot="images",
    ),
}
