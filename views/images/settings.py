"""The settings of the images page: read from a link or the session, checked, linked to.

Neither links nor widgets are believed: what is out of range falls back to the default and is named
in one sentence. What only the study can judge, such as a prompt, is left to its own check.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from mmh_core.dimension.estimators import DEFAULT_ESTIMATOR, ESTIMATORS
from mmh_core.studies.images.run import ImageConfig
from mmh_core.text_to_image.prompt_text import MOST_WINDOWS
from mmh_core.text_to_image.requests import LONGEST_SIDE, MOST_STEPS, Sampling, SchedulerName
from views.widgets.link_values import (
    MOST_SEED,
    differences,
    job_id,
    numbers,
    one_of,
    quoted,
    whole,
)

PREFIX = "im_"
#: What kinds of prompts of shipped models are about, in the order of the page.
_ABOUT = {
    "duplicate": "Duplicate: one image is in the training set dozens of times",
    "overfit": "Overfit: one to three images, trained on far too often",
    "template": "Template: many images share a layout, and only one part varies",
    "varied": "Varied: a name with a hundred different images",
    "open": "Open: no name, hundreds of different images",
    "near-duplicate": "Near-duplicate: one image is in the training set often, slightly changed",
    "unique": "Unique: every image of the caption is in the training set once",
    "fresh": "Fresh: a new image of the caption at every step of the training",
}
TABS = {
    "images": "Images",
    "normal": "LID distribution",
    "map": "Map of training images",
    "compare": "Compare runs",
    "audit": "Audit an image",
    "sets": "Training sets",
    "data": "Data & reproduce",
}
SCHEDULERS: dict[SchedulerName, str] = {
    "ddim": "DDIM",
    "euler": "Euler",
    "dpm++ 2m": "DPM++ 2M",
    "pndm": "PNDM",
}
#: Estimators that can be run beside the default one.
FURTHER = tuple(name for name in ESTIMATORS if name != DEFAULT_ESTIMATOR)
WHOLE = {
    "images": (1, 16),
    "seed": (0, MOST_SEED),
    "steps": (1, MOST_STEPS),
    "height": (8, LONGEST_SIDE),
    "width": (8, LONGEST_SIDE),
    "windows": (1, MOST_WINDOWS),
}
#: What a link carries besides model, example and form.
LINKED = ("tab", "image", "job", "audit", "audits", "plane", "other", "index", "made")
FORM = ("prompt", *WHOLE, "guidance", "scheduler", "negative", "estimators")


def in_page_order(kinds: Iterable[str]) -> tuple[str, ...]:
    """Return the kinds of a model's own captions, each once, those that are described first."""
    present = list(dict.fromkeys(kinds))
    described = [kind for kind in _ABOUT if kind in present]
    return tuple(described + [kind for kind in present if kind not in _ABOUT])


def about_kind(kind: str) -> tuple[str, str]:
    """Return the name of a kind of captions and what it is about, "" where nobody says."""
    name, _, about = _ABOUT.get(kind, kind.capitalize()).partition(": ")
    return name, about


@dataclass(frozen=True)
class ImageForm:
    """The form of the images page: what an `ImageConfig` needs, with consecutive seeds."""

    prompt: str
    images: int
    seed: int
    steps: int
    guidance: float
    height: int
    width: int
    scheduler: SchedulerName = "ddim"
    negative: str = ""
    estimators: tuple[str, ...] = ()
    windows: int = 1

    def config(self, model: str) -> ImageConfig:
        """Return the config of the study, its prompt not checked yet. Errors: MMHError."""
        seeds = tuple(range(self.seed, self.seed + self.images))
        return ImageConfig(
            model,
            (self.prompt,),
            seeds,
            Sampling(
                self.steps,
                self.guidance,
                self.height,
                self.width,
                self.scheduler,
                self.negative,
                windows=self.windows,
            ),
            self.estimators,
        )


@dataclass(frozen=True)
class ImageSettings:
    """The settings of the images page that a link can carry.

    `example` names the precomputed run that is shown while there is no job; `image` is the one
    in detail, None where the page chooses. `audit` is the job of one uploaded image, `audits`
    that of several. `other` is the run that the one shown is compared with: a job, or the name of
    a finished example. `index` is the kept training set that is searched in place of the model's
    own, `made` the job that makes one.
    """

    model: str
    form: ImageForm
    example: str = "duplicate"
    tab: str = "images"
    image: int | None = None
    job: str | None = None
    audit: str | None = None
    audits: str | None = None
    plane: str | None = None
    other: str | None = None
    index: str | None = None
    made: str | None = None


def form_of(config: ImageConfig) -> ImageForm:
    """Return the form that asks for a config's first prompt, from its first seed on."""
    return ImageForm(
        config.prompts[0],
        min(len(config.seeds), WHOLE["images"][1]),
        config.seeds[0],
        config.sampling.steps,
        config.sampling.guidance,
        config.sampling.height,
        config.sampling.width,
        config.sampling.scheduler,
        config.sampling.negative,
        config.estimators,
        config.sampling.windows,
    )


def parsed(source: Mapping[str, object], base: ImageSettings) -> tuple[ImageSettings, list[str]]:
    """Return the settings in a link or session, and a sentence for each value not usable.

    `base` says what counts where nothing is given; its model and example are taken as they are.
    """
    messages: list[str] = []
    form = replace(base.form, **numbers(source, WHOLE, messages))
    form = replace(
        form,
        prompt=_text(source.get("prompt"), form.prompt),
        negative=_text(source.get("negative"), form.negative),
        scheduler=one_of(
            "scheduler", source.get("scheduler"), SCHEDULERS, form.scheduler, messages
        ),
        estimators=_names(source.get("estimators"), form.estimators, messages),
    )
    return replace(
        base,
        form=form,
        tab=one_of("tab", source.get("tab"), TABS, base.tab, messages),
        image=whole("image", source.get("image"), (0, 10_000), messages),
        job=job_id("job", source.get("job"), messages),
        audit=job_id("audit", source.get("audit"), messages),
        audits=job_id("audits", source.get("audits"), messages),
        plane=job_id("plane", source.get("plane"), messages),
        other=job_id("other", source.get("other"), messages),
        made=job_id("made", source.get("made"), messages),
    ), messages


def query(settings: ImageSettings, base: ImageSettings) -> dict[str, str]:
    """Return the parameters of a link to these settings: what differs from `base`."""
    pairs: dict[str, str] = {"model": settings.model}
    if settings.example != "duplicate":
        pairs["example"] = settings.example
    pairs |= differences(settings.form, base.form, FORM, _written)
    return pairs | differences(settings, base, LINKED)


def _written(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else str(value)


def _text(value: object, default: str) -> str:
    return value if isinstance(value, str) else default


def _names(value: object, default: tuple[str, ...], messages: list[str]) -> tuple[str, ...]:
    if value is None:
        return default
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        given = [given]
    wrong = [name for name in given if name not in FURTHER and name != ""]
    if wrong:
        messages.append(f"estimators has {quoted(wrong[0])}; choose from {', '.join(FURTHER)}.")
    return tuple(name for name in FURTHER if name in given)
