"""The settings of the manifold page: read from a link or the session, checked, linked to.

Values come from URLs and from widgets, and neither is believed: what is out of range falls back to
the default and is named in one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mmh_core.installation import PROGRAM
from mmh_core.manifolds.catalogue import MANIFOLDS
from mmh_core.plots.points import Coloring
from mmh_core.studies.manifolds.config import MOST_SEED, MOST_WIDTH, default_config
from mmh_core.studies.manifolds.run import ManifoldConfig
from views.widgets.link_values import job_id, one_of, whole

PREFIX = "mf_"
FIRST = "circle"
NUMBERS = ("points", "duplicates", "width", "epochs", "seed", "ambient_dim")
#: Names in a link, and what the page calls them.
COLORS: dict[str, Coloring] = {"learned": "model LID", "true": "true LID", "verdict": "verdict"}
TABS = {
    "image": "Samples",
    "training": "Training",
    "estimators": "Estimators",
    "fit": "Fit",
    "data": "Data & reproduce",
}
GROUPS = {
    "Scenarios after Ross et al. (2025)": tuple(
        n for n, s in MANIFOLDS.items() if s.preset and s.plot != "images"
    ),
    "Manifolds with known LID": tuple(n for n, s in MANIFOLDS.items() if not s.preset),
    "Handwritten digits": tuple(n for n, s in MANIFOLDS.items() if s.plot == "images"),
}


@dataclass(frozen=True)
class ManifoldSettings:
    """The settings of the manifold page that a link can carry.

    `step` and `point` are None where the page chooses; `size` is the training-set size of the
    precomputed digits runs.
    """

    config: ManifoldConfig
    color: str = "learned"
    tab: str = "image"
    step: int | None = None
    point: int | None = None
    job: str | None = None
    size: int | None = None


def bounds(manifold: str) -> dict[str, tuple[int, int]]:
    """Return the least and the largest value of each number that a run of a manifold takes."""
    spec = MANIFOLDS[manifold]
    images = spec.plot == "images"
    return {
        "points": (2, spec.max_points - 2 if images else spec.max_points),
        "duplicates": (0, 10_000),
        "width": (8, MOST_WIDTH),
        "epochs": (1, 10_000_000),
        "seed": (0, MOST_SEED),
        "ambient_dim": (spec.ambient_dim, spec.ambient_dim if images else 10_000),
    }


def group_of(manifold: str) -> str:
    """Return the name of the group that a manifold is listed in."""
    return next(name for name, members in GROUPS.items() if manifold in members)


def parsed(source: Mapping[str, object]) -> tuple[ManifoldSettings, list[str]]:
    """Return valid settings, and one sentence for each value that was refused.

    `source` maps names to texts, as in a link, or to numbers, as in a session.
    """
    messages: list[str] = []
    manifold = one_of("manifold", source.get("manifold"), MANIFOLDS, FIRST, messages)
    base = default_config(manifold)
    numbers = {
        name: whole(name, source.get(name), between, messages, getattr(base, name))
        for name, between in bounds(manifold).items()
    }
    config = config_of(manifold, numbers)
    return ManifoldSettings(
        config,
        color=one_of("color", source.get("color"), COLORS, "learned", messages),
        tab=one_of("tab", source.get("tab"), TABS, "image", messages),
        step=whole("step", source.get("step"), (0, 10**9), messages),
        point=whole("point", source.get("point"), (0, 10**6), messages),
        job=job_id("job", source.get("job"), messages),
        size=whole("size", source.get("size"), (2, 10**6), messages),
    ), messages


def config_of(manifold: str, numbers: Mapping[str, int | None]) -> ManifoldConfig:
    """Return the config of a manifold with these numbers, the defaults for those that are None."""
    base = default_config(manifold)

    def take(name: str) -> int:
        given = numbers.get(name)
        return int(getattr(base, name)) if given is None else given

    return ManifoldConfig(
        manifold,
        points=take("points"),
        duplicates=take("duplicates"),
        width=take("width"),
        epochs=take("epochs"),
        seed=take("seed"),
        ambient_dim=numbers.get("ambient_dim"),
    )


def query(settings: ManifoldSettings) -> dict[str, str]:
    """Return the parameters of a link to these settings: the manifold and what is not default."""
    config, base = settings.config, default_config(settings.config.manifold)
    pairs: dict[str, object] = {"manifold": config.manifold}
    pairs |= {n: getattr(config, n) for n in NUMBERS if getattr(config, n) != getattr(base, n)}
    plain = ManifoldSettings(config)
    for name in ("color", "tab", "step", "point", "job", "size"):
        value = getattr(settings, name)
        if value != getattr(plain, name) and (name != "size" or config.manifold == "digits"):
            pairs[name] = value
    return {name: str(value) for name, value in pairs.items()}


def command(config: ManifoldConfig) -> str:
    """Return the command line that reproduces a run."""
    words = [f"{PROGRAM} manifold {config.manifold}"]
    words += [
        f"--{name.replace('_', '-')} {getattr(config, name)}"
        for name in NUMBERS
        if getattr(config, name) is not None
    ]
    return " ".join(words)
