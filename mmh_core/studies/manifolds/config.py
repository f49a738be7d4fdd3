"""The range and the defaults of the settings of the manifold study."""

from __future__ import annotations

from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.manifolds.checks import MOST_POINTS
from mmh_core.manifolds.digits import DIGIT_COUNT
from mmh_core.studies.manifolds.run import BATCH, ManifoldConfig

#: Optimizer steps after which the default run of a manifold ends.
DEFAULT_STEPS = 1_500
STEPS = {
    "circle": 750,
    "od-exact": 6_000,
    "poor-fit": 24,
    "affine-100": 6_000,
    "affine-100-mid": 6_000,
    "digits": 4_000,
}
#: Hidden units of the default network.
DEFAULT_WIDTH = 96
WIDTHS = {"affine-100": 512, "affine-100-mid": 512, "affine-800": 768, "digits": 256}

MOST_WIDTH, MOST_STEPS, MOST_SEED = 1_024, 200_000, 2**31 - 1


def default_config(manifold: str, *, points: int | None = None, seed: int = 0) -> ManifoldConfig:
    """Return the config with which a manifold shows what it is meant to show."""
    if manifold not in MANIFOLDS:
        raise ValueError(f"Unknown manifold {manifold!r}; choose from {', '.join(MANIFOLDS)}.")
    spec = MANIFOLDS[manifold]
    count = spec.default_points if points is None else points
    rows = count + spec.default_duplicates
    steps = STEPS.get(manifold, DEFAULT_STEPS)
    epochs = max(1, round(steps * BATCH / max(1, rows)))
    width = WIDTHS.get(manifold, DEFAULT_WIDTH)
    return ManifoldConfig(manifold, count, spec.default_duplicates, width, epochs, seed)


def checked(config: ManifoldConfig) -> ManifoldConfig:
    """Return the config, or refuse it with a sentence that names the value and its range."""
    bounds = {
        "width": (config.width, 8, MOST_WIDTH),
        "epochs": (config.epochs, 1, 10_000_000),
        "seed": (config.seed, 0, MOST_SEED),
        "duplicates": (config.duplicates, 0, MOST_POINTS),
    }
    for name, (value, least, most) in bounds.items():
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(
                f"{name} must be a whole number from {least} to {most:,}, got {value!r}."
            )
    default_config(config.manifold)
    most = MANIFOLDS[config.manifold].max_points
    if not isinstance(config.points, int) or not 2 <= config.points <= most:
        raise ValueError(
            f"points must be a whole number from 2 to {most:,}, got {config.points!r}."
        )
    if config.manifold == "digits" and config.points > DIGIT_COUNT - 2:
        raise ValueError(
            f"points must be at most {DIGIT_COUNT - 2:,} for digits, so that some are held out, "
            f"got {config.points!r}."
        )
    if config.steps > MOST_STEPS:
        raise ValueError(
            f"{config.epochs:,} epochs are {config.steps:,} training steps of {BATCH} points "
            f"each; at most {MOST_STEPS:,} steps are allowed."
        )
    return config
