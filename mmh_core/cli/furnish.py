"""The command that makes all calibrations and finished examples of the shipped model anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmh_core.cli.options import DeviceName, WorkFolder
from mmh_core.cli.output import check_places, followed
from mmh_core.files import write_text
from mmh_core.records import MMHError
from mmh_core.subject.devices import device_of
from mmh_core.text_to_image.catalogue import CATALOGUE

if TYPE_CHECKING:
    from mmh_core.studies.images.run import ImageConfig
    from mmh_core.studies.mitigation.run import MitigationConfig
    from mmh_core.subject.calibration import Calibration
    from mmh_core.subject.subject import Subject
    from mmh_core.text_to_image.model import TextToImage

_POCKET = Path(CATALOGUE["pocket-sd"].source)
_SEEDS = "0,1,2,3"


@dataclass(frozen=True)
class Furnishing:
    """The inputs of all stages: the folder of all assets, the work folder and the device.

    `name` is that of the model's folder among the assets.
    """

    assets: Path
    work: Path
    device: str
    name: str = "pocket-sd"

    @property
    def folder(self) -> Path:
        """Return the folder of the model."""
        return self.assets / self.name

    @property
    def model_name(self) -> str:
        """Return the name by which commands open the model: that of the catalogue, or a folder."""
        shipped = self.folder.resolve() == _POCKET.resolve()
        return "pocket-sd" if shipped else str(self.folder)

    def parts(self, stage: str) -> Path:
        """Return where finished parts of a stage are kept: elsewhere for another calibration."""
        from mmh_core.subject.calibration import FILE
        from mmh_core.text_to_image.weights import digest as digest_of

        calibration = self.folder / FILE
        digest = digest_of(calibration)[:12] if calibration.is_file() else "uncalibrated"
        return self.work / "parts" / f"{stage}-{digest}"

    @cached_property
    def seed(self) -> int:
        """Return the seed of the world."""
        from mmh_core.pocket.assets import world_seed

        return world_seed(self.folder)

    @cached_property
    def model(self) -> TextToImage:
        """Return the model, loaded once for all stages."""
        from mmh_core.text_to_image.stable_diffusion import load

        return load(self.folder, device=device_of(self.device))

    def subject(self) -> Subject:
        """Return the model with its training set, and with what is calibrated so far."""
        from mmh_core.subject.calibration import calibration_beside
        from mmh_core.subject.subject import Subject
        from mmh_core.subject.training_set import pocket_training_set

        calibration = calibration_beside(self.folder)
        training_set = pocket_training_set(self.folder, calibration)
        return Subject(self.model, training_set, calibration, self.name)

    def keep(self, parts: Calibration) -> None:
        """Write parts of the calibration beside the model, and list the digests of the folder.

        A calibration of other weights makes way.
        """
        from mmh_core.pocket.assets import write_manifest
        from mmh_core.subject.calibration import FILE, calibration_beside, write_calibration

        beside = calibration_beside(self.folder)
        calibration = beside.with_parts(parts) if beside.sha256 == parts.sha256 else parts
        write_calibration(self.folder / FILE, calibration)
        write_manifest(self.folder)


def furnish(
    stages: Annotated[
        str, typer.Option(help="Stages to run, separated by commas; all unless given.")
    ] = "",
    restart: Annotated[bool, typer.Option(help="Run finished stages again.")] = False,
    work: WorkFolder = Path(".mmh/pocket-furnish"),
    device: DeviceName = "auto",
    which: Annotated[
        int, typer.Option("--world", min=1, max=2, help="1: the shipped world; 2: the next one.")
    ] = 1,
    build: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Of the second world: the work folder of its build."),
    ] = Path(".mmh/pocket-build"),
    out: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Output folder."),
    ] = None,
) -> None:
    """Make all calibrations and finished examples of the shipped model anew, without training.

    Takes hours. Each stage is kept when it ends, and the same command resumes behind it; stages of
    other weights are run again. Of the second world, the first stage writes the model from its
    build into --out, in place of what is there.
    """
    if which == 2:
        from mmh_core.cli.furnish_second import furnish_second

        furnish_second(stages, restart, work / "second", device, build / "second", out)
        return
    if out is not None:
        raise MMHError("--out is of the second world: add --world 2, or leave --out out.")
    chosen = [name.strip() for name in stages.split(",") if name.strip()] or list(STAGES)
    unknown = [name for name in chosen if name not in STAGES]
    if unknown:
        raise MMHError(f"There is no stage {unknown[0]!r}: choose from {', '.join(STAGES)}.")
    run_stages(Furnishing(_POCKET.parent, work, device), chosen, restart)


def run_stages(
    shared: Furnishing,
    chosen: Collection[str],
    restart: bool = False,
    stages: Mapping[str, Callable[[Furnishing], None]] | None = None,
) -> None:
    """Run the chosen stages in their order, but those that these weights have behind them.

    `stages` are those of the first world unless given.
    """
    stages = STAGES if stages is None else stages
    check_places(shared.work / "done", shared.folder / "x")
    for name in [stage for stage in stages if stage in chosen]:
        mark = shared.work / f"{name}.done"
        if not restart and mark.exists() and mark.read_text().strip() == shared.model.sha256:
            typer.echo(f"{name}: finished before.")
            continue
        typer.echo(f"{name}: begins.")
        stages[name](shared)
        write_text(mark, f"{shared.model.sha256}\n")
    typer.echo(f"Furnished {shared.assets}.")


def _calibration(at: Furnishing) -> None:
    from mmh_core.pocket.calibration import calibrate
    from mmh_core.pocket.furnish import GUIDANCE, STEPS, open_shipped_data
    from mmh_core.subject.calibration import empty_calibration

    shipped = open_shipped_data(at.folder)
    steps = calibrate(
        at.model,
        shipped.world,
        shipped.embedder,
        shipped.training,
        guidance=GUIDANCE,
        steps=STEPS,
    )
    calibration = followed(steps)
    at.keep(
        replace(
            empty_calibration(at.model),
            copy_thresholds=calibration.copy_thresholds,
            lid_scale=calibration.lid_scale,
        )
    )


def _normal(at: Furnishing) -> None:
    from mmh_core.studies.detection.reference_prompts import pocket_reference_prompts
    from mmh_core.subject.calibration import empty_calibration, image_calibration

    scale = image_calibration(at.folder).lid_scale.log_delta
    references = followed(
        pocket_reference_prompts(at.folder, at.model, scale, at.seed, kept=at.parts("normal"))
    )
    at.keep(replace(empty_calibration(at.model), reference_prompts=references))


def _early(at: Furnishing) -> None:
    from mmh_core.studies.detection.reference_prompts import pocket_early
    from mmh_core.subject.calibration import empty_calibration

    early = followed(pocket_early(at.folder, at.model, at.seed))
    at.keep(replace(empty_calibration(at.model), early=early))


def _cause(at: Furnishing) -> None:
    from mmh_core.studies.detection.causes import calibrate_causes
    from mmh_core.studies.detection.labelled_prompts import pocket_labelled
    from mmh_core.subject.calibration import empty_calibration, image_calibration
    from mmh_core.subject.early_calibration import SEEDS

    scale = image_calibration(at.folder).lid_scale.log_delta
    labelled = pocket_labelled(at.folder, at.seed)
    cause = followed(calibrate_causes(labelled, at.subject(), SEEDS, scale))
    at.keep(replace(empty_calibration(at.model), cause=cause))


def _detectors(at: Furnishing) -> None:
    from mmh_core.studies.detection.calibrate import calibrate_detectors
    from mmh_core.studies.detection.labelled_prompts import pocket_labelled
    from mmh_core.subject.calibration import empty_calibration

    labelled, subject = pocket_labelled(at.folder, at.seed), at.subject()
    early = subject.calibration.early
    detectors = followed(
        calibrate_detectors(labelled, subject, early=early, kept=at.parts("detectors"))
    )
    at.keep(replace(empty_calibration(at.model), detectors=detectors))


def _figures(at: Furnishing) -> None:
    from mmh_core.cli.tables import check_table, plain
    from mmh_core.pocket.check import check
    from mmh_core.pocket.furnish import add_to_card
    from mmh_core.subject.calibration import image_calibration

    chosen = image_calibration(at.folder)
    figures = followed(check(at.folder, chosen, device=device_of(at.device)))
    add_to_card(at.folder, {"figures": plain(figures.rows)})
    write_text(at.work / "figures.md", check_table(figures) + "\n")


def _images(at: Furnishing) -> None:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.images.run import ImageRun

    for path in sorted((at.assets / "images").glob("*.safetensors")):
        image_example(at, path, load_record(path, ImageRun).config)


def image_example(at: Furnishing, path: Path, config: ImageConfig) -> None:
    """Make a finished example of images with the early scan of its prompts."""
    from mmh_core.store.archive import save_record
    from mmh_core.studies.detection.prompt_scan import scanned
    from mmh_core.studies.images.kept_run import kept_image_run

    subject = at.subject()
    steps = kept_image_run(config, subject, at.parts("images"))
    save_record(path, followed(scanned(steps, at.model, subject.calibration.early)))


def _mitigation(at: Furnishing) -> None:
    from mmh_core.store.archive import load_record
    from mmh_core.studies.mitigation.run import MitigationRun

    for path in sorted((at.assets / "mitigation").glob("*.safetensors")):
        if not path.stem.endswith("-tokens"):
            mitigation_example(at, path, load_record(path, MitigationRun).config)


def mitigation_example(at: Furnishing, path: Path, config: MitigationConfig) -> None:
    """Make a finished comparison with its robustness, and the words that matter beside it."""
    from mmh_core.store.archive import save_record
    from mmh_core.studies.mitigation.captions import paraphrases_listed
    from mmh_core.studies.mitigation.robustness import robust_study
    from mmh_core.studies.mitigation.study import mitigation_study
    from mmh_core.studies.mitigation.token_attribution import token_study

    subject, kept = at.subject(), at.parts("mitigation")
    run = followed(mitigation_study(config, subject, kept=kept))
    listed = paraphrases_listed(at.folder, config.prompts[0])
    run = followed(robust_study(run, subject, listed, kept=kept))
    save_record(path, run)
    words = path.with_name(f"{path.stem}-tokens{path.suffix}")
    if words.exists():
        first = replace(config, prompts=config.prompts[:1])
        save_record(words, followed(token_study(first, subject, run.cells[0].latents)))


def _review(at: Furnishing) -> None:
    from mmh_core.cli.review import write_demonstration

    out = at.assets / "review" / "demonstration.zip"
    write_demonstration(at.subject(), at.folder, out, at.parts("review"))


def _benchmark(at: Furnishing) -> None:
    from mmh_core.cli.benchmark import benchmark

    benchmark(
        model=at.model_name,
        prompts=None,
        seeds=_SEEDS,
        log_delta=None,
        column="",
        calibration=None,
        out=at.assets / "benchmark" / "pocket-sd.safetensors",
        json_file=at.work / "benchmark.json",
        resume=True,
        work=at.parts("benchmark"),
        device=at.device,
    )


def _mitigation_benchmark(at: Furnishing) -> None:
    from mmh_core.cli.mitigation import mitigation_benchmark

    mitigation_benchmark(
        captions=24,
        robust=8,
        seeds=_SEEDS,
        json_file=at.work / "mitigation-benchmark.json",
        resume=True,
        work=at.parts("mitigation-benchmark"),
        model=at.model_name,
        device=at.device,
    )


#: The stages of what is calibrated, which the build of the model runs as well.
CALIBRATIONS = ("calibration", "normal", "early", "cause", "detectors")
#: In the order in which each uses what those before it made.
STAGES: dict[str, Callable[[Furnishing], None]] = {
    "calibration": _calibration,
    "normal": _normal,
    "early": _early,
    "cause": _cause,
    "detectors": _detectors,
    "figures": _figures,
    "images": _images,
    "mitigation": _mitigation,
    "review": _review,
    "benchmark": _benchmark,
    "mitigation-benchmark": _mitigation_benchmark,
}
