"""Say how long a run of the image study will take, judging by runs that ended."""

from __future__ import annotations

from mmh_core import image_session
from mmh_core.records import MMHError
from mmh_core.session import data_folder
from mmh_core.studies.image_run import ImageConfig, ImageRun
from views.words import in_words


def sentence(config: ImageConfig) -> str:
    """Return one line on how long a config takes here, or that nobody knows."""
    found = expected(config)
    if found is None:
        return (
            "How long it takes is not known before the first run with this model here; on a CPU "
            "a large model needs minutes for each picture."
        )
    seconds, here = found
    source = "judging by earlier runs here" if here else "roughly, measured on two CPU cores"
    return f"About {in_words(seconds)} ({source})."


def expected(config: ImageConfig) -> tuple[float, bool] | None:
    """Return the seconds that a config takes, and whether this machine's own runs tell.

    From the newest complete run of the same model here, else the precomputed ones. Drawing grows
    with pictures, steps and pixels; reading with pictures and pixels. Caveat: further estimators
    and larger sizes are only roughly covered, so the estimate is good to a factor of two.
    """
    for record in image_session.past_images(6):
        run = kept_run(record.result)
        if run is not None and run.config.model == config.model and run.state == "complete":
            return _scaled(run, config), True
    if config.model == image_session.POCKET:
        for name in image_session.example_names():
            shipped = image_session.example_run(name)
            if shipped is not None and shipped.seconds_drawing > 0:
                return _scaled(shipped, config), False
    return None


def kept_run(result: str | None) -> ImageRun | None:
    """Return the run in a kept file, None where it is gone or damaged."""
    from pathlib import Path

    try:
        return image_session.read_run(data_folder() / "runs" / Path(result or "").name)
    except MMHError:
        return None


def _scaled(run: ImageRun, config: ImageConfig) -> float:
    pictures = _pixels(config) / max(1, _pixels(run.config))
    drawing = run.seconds_drawing * pictures * config.steps / run.config.steps
    further = 1 + 0.5 * len(config.estimators)
    return drawing + run.seconds_reading * pictures * further


def _pixels(config: ImageConfig) -> int:
    return len(config.prompts) * len(config.seeds) * config.height * config.width
