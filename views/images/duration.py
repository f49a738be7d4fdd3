"""The expected duration of a run of the image study, from runs that ended."""

from __future__ import annotations

from mmh_core.studies.images.run import ImageConfig, ImageRun
from views import models as model_session
from views.images import session as image_session
from views.widgets.words import duration_words


def sentence(config: ImageConfig) -> str:
    """Return one line on how long a config takes here, or that it is unknown."""
    expectation = expected(config)
    if expectation is None:
        return (
            "The duration is unknown before the first run with this model on this machine; on "
            "a CPU a large model needs minutes for each image."
        )
    seconds, source = expectation
    return f"About {duration_words(seconds)} ({source})."


def expected(config: ImageConfig) -> tuple[float, str] | None:
    """Return the seconds that a config takes, and the source of the estimate.

    From the newest complete run of the same model here, else the precomputed ones, else the speed
    of this device. Generating grows with images, steps and pixels; estimating with images and
    pixels. Caveat: further estimators and larger sizes are only roughly covered, so the estimate
    is good to a factor of two, and to one of three where only the device's speed is known.
    """
    for run in image_session.past_runs(6):
        if run.config.model == config.model and run.state == "complete":
            return _scaled(run, config), "from earlier runs here"
    shipped = _shipped()
    if config.model == model_session.POCKET and shipped is not None:
        return _scaled(shipped, config), "roughly, measured on two CPU cores"
    forward = model_session.estimated_forward_seconds(config.model)
    if forward is None:
        return None
    base = model_session.default_settings(config.model)
    branches = 2 if config.sampling.guidance > 1 else 1
    images_of_base_size = _total_pixels(config) / base.sampling.pixels
    seconds = forward * branches * config.sampling.steps * images_of_base_size
    # Estimating LID takes the same share of the time as with the shipped model.
    if shipped is not None:
        seconds *= _scaled(shipped, shipped.config) / shipped.seconds_generating
    return seconds, "estimated from this machine's speed, within a factor of three"


def _shipped() -> ImageRun | None:
    """Return the first precomputed run whose time is known."""
    for name in image_session.example_names():
        run = image_session.example_run(name)
        if run is not None and run.seconds_generating > 0:
            return run
    return None


def _scaled(run: ImageRun, config: ImageConfig) -> float:
    """Return the seconds of a config from those of a run of the same model."""
    larger = _total_pixels(config) / max(1, _total_pixels(run.config))
    longer = config.sampling.steps / run.config.sampling.steps
    estimators = 1 + 0.5 * len(config.estimators)
    return larger * (run.seconds_generating * longer + run.seconds_estimating * estimators)


def _total_pixels(config: ImageConfig) -> int:
    """Return the pixels of all images of a config together."""
    return len(config.prompts) * len(config.seeds) * config.sampling.pixels
