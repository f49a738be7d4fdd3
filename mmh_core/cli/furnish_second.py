"""The second world as the shipped model: written from its build, calibrated, with examples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import typer

from mmh_core.cli.furnish import (
    STAGES,
    benchmark_figures,
    calibrated_detectors,
    run_stages,
)
from mmh_core.cli.furnish_examples import image_example, mitigation_example
from mmh_core.cli.furnishing import Furnishing
from mmh_core.cli.output import check_writable, run_steps, run_to_end, write_json
from mmh_core.files import write_text
from mmh_core.records import MMHError
from mmh_core.retrieval.umap_layout import umap_layout_steps
from mmh_core.subject.devices import device_of

if TYPE_CHECKING:
    from mmh_core.pocket.furnish import LayoutSteps
    from mmh_core.pocket.second.inspection import Inspection
    from mmh_core.studies.detection.network_causes import CauseCounts
    from mmh_core.studies.images.run import ImageConfig
    from mmh_core.studies.mitigation.run import MitigationConfig

Config = TypeVar("Config", "ImageConfig", "MitigationConfig")
#: The stage that writes the model; it comes before all others.
MODEL_STAGE = "folder"
#: Kinds of captions of which a finished example is kept, and those of the comparison.
_EXAMPLES = ("duplicate", "near-duplicate", "template", "unique", "fresh")
_COMPARED = ("duplicate", "unique", "fresh")
#: Prompts of each half and kind on which detectors are calibrated and compared. Of all 1,400, at
#: all settings of all detectors, the benchmark takes seven hours of an idle core for each network.
_BENCHMARKED = 24


def furnish_second(
    stages: str, restart: bool, work: Path, device: str, build: Path, out: Path | None
) -> None:
    """Write and furnish the model of a finished build; see the command."""
    from mmh_core.pocket.second.inspection import Inspection
    from mmh_core.pocket.second.plan import SecondConfig
    from mmh_core.pocket.second.training import Workshop

    names = (MODEL_STAGE, *STAGES)
    chosen = [name.strip() for name in stages.split(",") if name.strip()] or list(names)
    unknown = [name for name in chosen if name not in names]
    if unknown:
        raise MMHError(f"There is no stage {unknown[0]!r}: choose from {', '.join(names)}.")
    if out is None:
        raise MMHError(
            "Name the folder of the model by --out, such as assets/pocket-sd for the one that "
            "comes with this program, whose place the second world then takes."
        )
    folder = out.resolve()
    inspection = Inspection(Workshop(SecondConfig(), build, device_of(device)))
    at = Furnishing(folder.parent, work, device, folder.name)
    run_second(at, inspection, chosen, restart)


def run_second(
    at: Furnishing,
    inspection: Inspection,
    chosen: list[str],
    restart: bool = False,
    layout: LayoutSteps = umap_layout_steps,
    cause_counts: CauseCounts | None = None,
) -> None:
    """Run the chosen stages: the model's folder first, then all that is made of it.

    `layout` makes the map of the training images; `cause_counts` says on how many captions
    and seeds the cause is calibrated: tests take fewer than usual.
    Errors: MMHError for a build that is not finished.
    """
    from mmh_core.pocket.assets import world_number
    from mmh_core.pocket.second.embedded import embed_second

    check_writable(at.work / "done", at.folder / "x")
    if MODEL_STAGE in chosen:
        shop, mark = inspection.shop, at.work / f"{MODEL_STAGE}.done"
        stamp = shop.stamp("assembly")
        written = mark.exists() and mark.read_text().strip() == stamp
        if restart or not written or not (at.folder / "world.json").is_file():
            typer.echo(f"{MODEL_STAGE}: begins.")
            run_to_end(embed_second(shop, at.folder, layout))
            write_text(mark, f"{stamp}\n")
        else:
            typer.echo(f"{MODEL_STAGE}: finished before.")
    rest = [name for name in chosen if name != MODEL_STAGE]
    if rest and not (at.folder / "world.json").is_file():
        raise MMHError(f"{at.folder} holds no model: run the stage {MODEL_STAGE} first.")
    if rest and world_number(at.folder) != 2:
        raise MMHError(
            f"{at.folder} holds the first world: run the stage {MODEL_STAGE} first, which "
            "replaces it."
        )
    if rest:
        run_stages(at, rest, restart, second_stages(inspection, cause_counts))


def second_stages(
    inspection: Inspection, cause_counts: CauseCounts | None = None
) -> dict[str, Callable[[Furnishing], None]]:
    """Return the stages after the model is written: the first world's, some done otherwise."""
    return {
        **STAGES,
        "calibration": lambda at: _calibration(at, inspection),
        "cause": lambda at: _cause(at, inspection, cause_counts),
        "figures": lambda at: _figures(at, inspection, cause_counts),
        "detectors": lambda at: calibrated_detectors(at, _BENCHMARKED),
        "images": _images,
        "benchmark": lambda at: benchmark_figures(at, _BENCHMARKED),
        "mitigation": _mitigation,
    }


def _calibration(at: Furnishing, inspection: Inspection) -> None:
    """Put the copy thresholds and the noise scale of LID into the model's calibration.

    They are those of the check, which keeps them in the work folder of the build.
    """
    from mmh_core.subject.calibration import empty_calibration

    for measurement in inspection.calibrations():
        for done, of in measurement.run():
            typer.echo(f"{measurement.label}: {done} of {of}", err=True)
    at.merge_calibration(
        replace(
            empty_calibration(at.model),
            copy_thresholds=inspection.thresholds,
            lid_noise_scale=inspection.scale,
        )
    )


def _cause(at: Furnishing, inspection: Inspection, cause_counts: CauseCounts | None) -> None:
    """Put the calibration of the cause, over all finished networks, into the model's file."""
    from mmh_core.studies.detection.network_causes import NetworkCauses
    from mmh_core.subject.calibration import empty_calibration

    causes = NetworkCauses(inspection, cause_counts)
    for measurement in causes.measurements():
        for done, of in measurement.run():
            typer.echo(f"{measurement.label}: {done} of {of}", err=True)
    if causes.missing:
        missing = ", ".join(causes.missing)
        typer.echo(f"The cause is calibrated without {missing}: not trained yet.", err=True)
    at.merge_calibration(replace(empty_calibration(at.model), cause=causes.calibration()))


def _figures(at: Furnishing, inspection: Inspection, cause_counts: CauseCounts | None) -> None:
    """Write the figures of the check into the card; what is measured is not measured again."""
    from mmh_core.cli.tables import check_table, plain
    from mmh_core.pocket.furnish import add_to_card
    from mmh_core.pocket.second.check import check_second
    from mmh_core.studies.detection.network_causes import NetworkCauses

    shop = inspection.shop
    steps = check_second(
        shop.config,
        shop.work,
        device=device_of(at.device),
        counts=inspection.counts,
        cause=lambda measured: NetworkCauses(measured, cause_counts),
    )
    figures = run_steps(steps)
    add_to_card(at.folder, {"figures": plain(figures.rows)})
    write_text(at.work / "figures.md", check_table(figures, ".4g") + "\n")
    write_json({"figures": figures.rows}, at.figures("pocket-check"))


def as_recommended(settings: Config, at: Furnishing, prompts: tuple[str, ...]) -> Config:
    """Return settings of an example with other prompts, sampled as the model's card recommends.

    The settings may be those of an example of the first world, whose card says otherwise.
    """
    return replace(settings, prompts=prompts, sampling=at.model.sampling)


def _images(at: Furnishing) -> None:
    """Make one finished example of each kind; those of other kinds make way."""
    from mmh_core.pocket.second.embedded import second_example
    from mmh_core.store.archive import load_record
    from mmh_core.studies.images.run import ImageRun

    folder = at.assets / "images"
    kept = sorted(folder.glob("*.safetensors"))
    if not kept:
        raise MMHError(f"{folder} holds no finished example whose settings could be taken.")
    settings: ImageConfig = load_record(kept[0], ImageRun).config
    for kind in _EXAMPLES:
        config = as_recommended(settings, at, (second_example(at.folder, kind),))
        image_example(at, folder / f"{kind}.safetensors", config)
    for path in kept:
        if path.stem not in _EXAMPLES:
            path.unlink()


def _mitigation(at: Furnishing) -> None:
    """Make the finished comparison of mitigations with captions of this world."""
    from mmh_core.pocket.second.embedded import second_example
    from mmh_core.store.archive import load_record
    from mmh_core.studies.mitigation.run import MitigationRun

    path = at.assets / "mitigation" / "duplicate.safetensors"
    prompts = tuple(second_example(at.folder, kind) for kind in _COMPARED)
    settings: MitigationConfig = load_record(path, MitigationRun).config
    mitigation_example(at, path, as_recommended(settings, at, prompts))
