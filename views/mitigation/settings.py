"""The settings of the mitigation page: read from a link or the session, checked, linked to.

As on the images page neither links nor widgets are believed: what is out of range falls back to
the default and is named in one sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from mmh_core.mitigations.catalogue import MITIGATIONS, SEARCHING, mitigation
from mmh_core.studies.mitigation.run import MitigationConfig, Treatment
from mmh_core.text_to_image.requests import Sampling
from views.widgets.link_values import MOST_SEED, differences, job_id, numbers, one_of, quoted

PREFIX = "mi_"
TABS = {
    "compare": "Before and after",
    "grid": "All images",
    "words": "Token attribution",
    "normal": "Reference prompts",
    "training": "Training-time mitigation",
    "data": "Data & reproduce",
}
WHOLE = {"images": (1, 8), "seed": (0, MOST_SEED), "steps": (1, 1_000)}
#: What is generated in every comparison, whatever is asked for.
RANDOM = Treatment("random_tokens", MITIGATIONS["random_tokens"].strength)
#: What a person may switch on, cheap ones first.
OFFERED = tuple(name for name in MITIGATIONS if name not in ("none", "random_tokens"))
#: Choices of mitigations by one click: label, and what it says of them.
PRESETS = {
    "Quick": "Those that take at most 1.5 times as long as generation alone.",
    "No training images": "Those that need no index of the training images.",
    "All": "All of them: takes by far the longest.",
}
DEFAULT = tuple(
    Treatment(name, MITIGATIONS[name].strength)
    for name in ("sparse_repellency", "padding_fix", "attention_attenuation")
)
#: What a link carries besides model, example, form and cell.
LINKED = ("tab", "job", "trial", "tokens", "index")
FORM = ("prompt", *WHOLE, "guidance", "treatments", "with_normal", "normal")
_MOST_NORMAL = 8


@dataclass(frozen=True)
class MitigationForm:
    """The form of the mitigation page; `treatments` leaves out the baselines, always included.

    `normal` are reference prompts, used if `with_normal`.
    """

    prompt: str
    images: int
    seed: int
    steps: int
    guidance: float
    height: int
    width: int
    treatments: tuple[Treatment, ...] = DEFAULT
    with_normal: bool = True
    normal: tuple[str, ...] = ()

    def config(self, model: str) -> MitigationConfig:
        """Return the config of the study, its prompts not checked yet. Errors: MMHError."""
        return MitigationConfig(
            model,
            (self.prompt, *(self.normal if self.with_normal else ())),
            tuple(range(self.seed, self.seed + self.images)),
            with_baselines(self.treatments),
            Sampling(self.steps, self.guidance, self.height, self.width),
        )


@dataclass(frozen=True)
class MitigationSettings:
    """The settings of the mitigation page that a link can carry.

    `example` names the precomputed comparison that is shown while there is no job, `cell` the
    treatment in detail (None where the page chooses), `trial` the job that tries another wording
    and `tokens` the one that scores the words. `index` is the kept training set that is searched
    in place of the model's own.
    """

    model: str
    form: MitigationForm
    example: str = ""
    tab: str = "compare"
    cell: Treatment | None = None
    job: str | None = None
    trial: str | None = None
    tokens: str | None = None
    index: str | None = None


def with_baselines(treatments: Sequence[Treatment]) -> tuple[Treatment, ...]:
    """Return `none`, random tokens, then the given treatments, each once."""
    none = Treatment("none", MITIGATIONS["none"].strength)
    return tuple(dict.fromkeys((none, RANDOM, *treatments)))


def preset(label: str, steps: int) -> tuple[str, ...]:
    """Return the mitigations of a preset, for a generation of so many steps (two NFE each)."""
    if label == "Quick":
        return tuple(name for name in OFFERED if mitigation(name).cost(steps) <= steps)
    if label == "No training images":
        return tuple(name for name in OFFERED if name not in SEARCHING)
    return OFFERED


def in_order(treatments: Iterable[Treatment]) -> tuple[Treatment, ...]:
    """Return the treatments that a person may choose, in the order of the form."""
    offered = [
        treatment for treatment in dict.fromkeys(treatments) if treatment.mitigation in OFFERED
    ]
    return tuple(
        sorted(
            offered,
            key=lambda treatment: (OFFERED.index(treatment.mitigation), treatment.strength),
        )
    )


def form_of(config: MitigationConfig) -> MitigationForm:
    """Return the form that asks for a config, with consecutive seeds from its first one on."""
    return MitigationForm(
        config.prompts[0],
        min(len(config.seeds), WHOLE["images"][1]),
        config.seeds[0],
        config.sampling.steps,
        config.sampling.guidance,
        config.sampling.height,
        config.sampling.width,
        in_order(config.treatments),
        len(config.prompts) > 1,
        config.prompts[1 : 1 + _MOST_NORMAL],
    )


def same_request(form: MitigationForm, config: MitigationConfig) -> bool:
    """Return whether the form asks for what a config does, as far as a form can say it.

    What the form holds and does not ask for, as reference prompts that are switched off, counts
    for nothing, and so does the order of the mitigations.
    """
    ours, stored = form.config(config.model), form_of(config).config(config.model)
    return in_order(ours.treatments) == in_order(stored.treatments) and (
        replace(ours, treatments=()) == replace(stored, treatments=())
    )


def parsed(
    source: Mapping[str, object], base: MitigationSettings
) -> tuple[MitigationSettings, list[str]]:
    """Return the settings in a link or session, and a sentence for each value not usable."""
    messages: list[str] = []
    form = replace(base.form, **numbers(source, WHOLE, messages))
    treatments = source.get("treatments")
    given = source.get("prompt")
    form = replace(
        form,
        prompt=given if isinstance(given, str) else form.prompt,
        treatments=form.treatments
        if treatments is None
        else in_order(read_treatments(treatments, messages)),
        with_normal=_truth(source.get("with_normal"), form.with_normal, messages),
        normal=_lines(source.get("normal"), form.normal),
    )
    cells = source.get("cell")
    cell = read_treatments(cells, messages)[:1] if cells else ()
    return replace(
        base,
        form=form,
        tab=one_of("tab", source.get("tab"), TABS, base.tab, messages),
        cell=cell[0] if cell else None,
        job=job_id("job", source.get("job"), messages),
        trial=job_id("trial", source.get("trial"), messages),
        tokens=job_id("tokens", source.get("tokens"), messages),
    ), messages


def query(settings: MitigationSettings, base: MitigationSettings) -> dict[str, str]:
    """Return the parameters of a link to these settings: what differs from `base`."""
    pairs: dict[str, str] = {"model": settings.model}
    if settings.example:
        pairs["example"] = settings.example
    pairs |= differences(settings.form, base.form, FORM, _written)
    pairs |= differences(settings, base, LINKED)
    if settings.cell is not None:
        pairs["cell"] = write_treatments((settings.cell,))
    return pairs


def _written(value: object) -> str:
    if not isinstance(value, tuple):
        return str(value)
    treatments = [item for item in value if isinstance(item, Treatment)]
    return write_treatments(treatments) if treatments else "\n".join(map(str, value))


def write_treatments(treatments: Iterable[Treatment]) -> str:
    """Return treatments as the command line and links say them: name:strength, with commas."""
    return ",".join(f"{treatment.mitigation}:{treatment.strength:g}" for treatment in treatments)


def read_treatments(value: object, messages: list[str]) -> tuple[Treatment, ...]:
    """Return the treatments in a text or tuple; what is unknown is left out and named."""
    if isinstance(value, tuple | list):
        return tuple(item for item in value if isinstance(item, Treatment))
    if isinstance(value, Treatment):
        return (value,)
    treatments: list[Treatment] = []
    for part in str(value).split(","):
        name, _, strength = part.strip().partition(":")
        if not part.strip():
            continue
        if name not in MITIGATIONS:
            messages.append(f"mitigation is {quoted(name)}; choose from {', '.join(MITIGATIONS)}.")
            continue
        is_number = re.fullmatch(r"[0-9]{1,4}(\.[0-9]{1,6})?", strength or "0")
        if not is_number:
            messages.append(f"strength is {quoted(strength)}; it must be a number, such as 0.5.")
            continue
        treatments.append(
            Treatment(name, float(strength) if strength else mitigation(name).strength)
        )
    return tuple(dict.fromkeys(treatments))


def _truth(value: object, default: bool, messages: list[str]) -> bool:
    if value is None or isinstance(value, bool):
        return default if value is None else value
    if value in ("True", "False"):
        return value == "True"
    messages.append(
        f"with_normal is {quoted(value)}; it must be True or False, so it is left out."
    )
    return default


def _lines(value: object, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines of a text that are not empty; the first few of too many."""
    if isinstance(value, tuple | list):
        value = "\n".join(str(item) for item in value)
    if not isinstance(value, str):
        return default
    lines = dict.fromkeys(" ".join(line.split()) for line in value.splitlines())
    return tuple(line for line in lines if line)[:_MOST_NORMAL]
