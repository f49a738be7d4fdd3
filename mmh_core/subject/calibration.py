"""The calibration of a subject: one record in one file, written and read here alone.

Absolute LIDs, norms and scores mean nothing across models and samplings, so the record names the
digest of the model and the sampling that it holds for. Beside a model the file is
`calibration.safetensors`; any other one is named by `--calibration FILE`.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor

from mmh_core.counting import agreeing
from mmh_core.detectors.catalogue import DETECTORS
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.files import folder_lock
from mmh_core.formats.untrusted import quoted
from mmh_core.installation import PROGRAM
from mmh_core.memorization.cause_calibration import FEATURES, CauseCalibration
from mmh_core.pocket.calibration import ImageCalibration, LidNoiseScale
from mmh_core.records import MMHError
from mmh_core.retrieval.copy_thresholds import CopyThresholds
from mmh_core.store.archive import load_record, save_record, stored_field
from mmh_core.subject.detector_calibration import DetectorCalibration
from mmh_core.subject.early_calibration import EarlyCalibration
from mmh_core.subject.reference_prompts import ReferencePrompts
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Sampling
from mmh_core.text_to_image.weights import update_manifest

#: The file beside a model.
FILE = "calibration.safetensors"
#: Of the record; a file of another one is refused.
VERSION = 1
#: What earlier versions kept in a folder in place of the one file.
OLDER_FILES = ("early_scan.safetensors", "detectors.safetensors", "normal_prompts.safetensors")


@dataclass(frozen=True)
class Calibration:
    """The calibration of the model with this `sha256` at this `sampling`; unknown parts are None.

    | part | what it gives | command that makes it |
    |---|---|---|
    | `reference_prompts` | percentiles of LID and guidance norm | pocket furnish |
    | `early` | the early scan, its threshold and percentiles | calibrate |
    | `detectors` | threshold and percentiles of every detector | calibrate --all |
    | `copy_thresholds` | when an image is a copy of a training image | pocket furnish |
    | `lid_noise_scale` | the noise scale at which LID is estimated | pocket furnish |
    | `cause` | the confidence of a cause | pocket furnish |

    `model` is the name of the model. The detectors take the early scan from `early` where both are
    there, so that a prompt has one early scan. A calibration without a digest is of no model.
    """

    reference_prompts: ReferencePrompts | None = None
    early: EarlyCalibration | None = None
    detectors: DetectorCalibration | None = None
    copy_thresholds: CopyThresholds | None = None
    lid_noise_scale: LidNoiseScale | None = None
    cause: CauseCalibration | None = None
    model: str = ""
    sha256: str = ""
    sampling: Sampling | None = None
    version: int = VERSION

    @property
    def log_delta(self) -> float | None:
        """Return the log noise scale at which LID is estimated, None where none was chosen."""
        return None if self.lid_noise_scale is None else self.lid_noise_scale.log_delta

    def check(self, model: TextToImage) -> None:
        """Raise MMHError for another model than the one calibrated."""
        if self.sha256 not in ("", model.sha256):
            raise MMHError(
                f"The calibration is of {self.model} with other weights than {model.name}: "
                "calibrate this model first, with the command calibrate."
            )

    def with_parts(self, newer: Calibration) -> Calibration:
        """Return it with the parts that the newer one has, in place of its own.

        Errors: MMHError for parts of other weights or another sampling, and for detectors and an
        early scan that do not go together.
        """
        if newer.sha256 != self.sha256:
            raise MMHError(
                f"The calibration is of {self.model} with other weights than {newer.model}: name "
                "another file, or remove this one."
            )
        if newer.sampling != self.sampling:
            earlier, later = (
                "an unknown sampling" if one is None else one.words
                for one in (self.sampling, newer.sampling)
            )
            raise MMHError(
                f"The calibration is for {earlier} and the new part for {later}: name another "
                "file, or remove this one."
            )
        early = newer.early or self.early
        detectors = newer.detectors or self.detectors
        if early is not None and detectors is not None and detectors.early_scan is not early:
            detectors = detectors.scanning_by(early)
        return replace(
            self,
            reference_prompts=newer.reference_prompts or self.reference_prompts,
            early=early,
            detectors=detectors,
            copy_thresholds=newer.copy_thresholds or self.copy_thresholds,
            lid_noise_scale=newer.lid_noise_scale or self.lid_noise_scale,
            cause=newer.cause or self.cause,
        )

    def completed(self, own: Calibration) -> Calibration:
        """Return it with what only the maker of a model knows taken from the model's own.

        Those are reference prompts, copy thresholds, noise scale of LID and cause, where it has
        none; of other weights it takes nothing.
        """
        if own.sha256 != self.sha256:
            return self
        return replace(
            self,
            reference_prompts=self.reference_prompts or own.reference_prompts,
            copy_thresholds=self.copy_thresholds or own.copy_thresholds,
            lid_noise_scale=self.lid_noise_scale or own.lid_noise_scale,
            cause=self.cause or own.cause,
        )


def empty_calibration(model: TextToImage) -> Calibration:
    """Return the calibration of a model at its sampling, all parts unknown."""
    return Calibration(model=model.name, sha256=model.sha256, sampling=model.sampling)


def read_calibration(path: Path) -> Calibration:
    """Return the calibration kept in a file.

    Errors: MMHError for a missing or damaged file, one of another version and one whose parts do
    not fit together, with the command that makes a new one.
    """
    if path.is_dir():
        _check_older_version(path)
        raise MMHError(
            f"{path} is a folder: name the file of the calibration in it, such as {path / FILE}."
        )
    remedy = _remedy(path)
    version = stored_field(path, Calibration, "version", remedy=remedy)
    if version != VERSION:
        raise MMHError(
            f"The file {path.name!r} is a calibration of version {quoted(version)}, and this "
            f"program reads version {VERSION}. {remedy}"
        )
    calibration = load_record(path, Calibration, remedy=remedy)
    detectors = calibration.detectors
    if (
        calibration.early is not None
        and detectors is not None
        and EarlyScan.name in detectors.names
    ):
        calibration = replace(
            calibration, detectors=replace(detectors, early_scan=calibration.early)
        )
    try:
        _check_parts(calibration)
    # What torch and a detector say of tensors that do not fit may be any of these.
    except (ValueError, TypeError, LookupError, ArithmeticError, RuntimeError) as error:
        raise MMHError(
            f"The parts of the calibration {path.name!r} do not fit together. {remedy}"
        ) from error
    return calibration


def calibration_beside(folder: Path) -> Calibration:
    """Return the calibration kept in the folder of a model, empty where there is none.

    Errors: MMHError for a damaged file, and for a folder with files of an earlier version alone.
    """
    path = folder / FILE
    if path.exists():
        return read_calibration(path)
    _check_older_version(folder)
    return Calibration()


def image_calibration(folder: Path) -> ImageCalibration:
    """Return the calibration on images beside a shipped model. Errors: MMHError."""
    calibration = calibration_beside(folder)
    if calibration.copy_thresholds is None or calibration.lid_noise_scale is None:
        raise MMHError(
            f"{folder / FILE} has no copy thresholds and no noise scale of LID: make them with "
            f"`{PROGRAM} pocket furnish --stages calibration --restart`."
        )
    return ImageCalibration(calibration.copy_thresholds, calibration.lid_noise_scale)


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration to a file, whole or not at all.

    A manifest beside it that lists the file lists its new digest.
    """
    detectors = calibration.detectors
    if calibration.early is not None and detectors is not None:
        # Kept once; reading puts it back.
        detectors = replace(detectors, early_scan=None)
    save_record(path, replace(calibration, detectors=detectors))
    update_manifest(path)


def update_calibration(path: Path, parts: Calibration) -> Calibration:
    """Write the parts that are known into a file, keep its others, and return what it then holds.

    The file is replaced whole or not at all, and one writer waits for another. Errors: MMHError
    for a file that holds something else, or the calibration of other weights or another sampling.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with folder_lock(path.parent):
        calibration = parts.with_parts(parts)
        if path.exists():
            calibration = read_calibration(path).with_parts(parts)
        write_calibration(path, calibration)
    return calibration


def _check_older_version(folder: Path) -> None:
    """Raise MMHError for a folder that holds a calibration of an earlier version alone."""
    older = [name for name in OLDER_FILES if (folder / name).is_file()]
    if older and not (folder / FILE).exists():
        raise MMHError(
            f"{folder} holds a calibration of an earlier version in {', '.join(older)}, which is "
            f"not read any more: remove {agreeing(len(older), 'it', 'them')}. "
            f"{_remedy(folder / FILE)}"
        )


def _remedy(path: Path) -> str:
    if path.name == FILE and (path.parent / "world.json").is_file():
        return f"Build the model again with `{PROGRAM} pocket build`, or copy it anew."
    out = shlex.quote(str(path))
    return f"Make a new one with `{PROGRAM} calibrate TABLE --all --model MODEL --out {out}`."


def _check_parts(calibration: Calibration) -> None:
    """Raise for parts of other models, and for tensors of other shapes than they name."""
    parts = (calibration.reference_prompts, calibration.early, calibration.detectors)
    if any(part is not None and part.sha256 != calibration.sha256 for part in parts):
        raise ValueError("The parts are of several models.")
    if (reference := calibration.reference_prompts) is not None:
        count, steps = len(reference.prompts), len(reference.log_deltas)
        _check_shape(reference.conditional, (count,))
        _check_shape(reference.unconditional, (count,))
        _check_shape(reference.guidance_norm, (count, *reference.guidance_norm.shape[1:2]))
        _check_shape(reference.curve, (count, steps))
        _check_finite(reference.log_delta)
    if (early := calibration.early) is not None:
        _check_shape(early.columns, (len(early.prompts), len(early.seeds), 2))
        for counted in (early.memorized, early.paraphrases):
            if counted is not None:
                _check_shape(counted, (len(counted), len(early.seeds), 2))
        _check_finite(early.high, early.low)
        early.detector()
    if (detectors := calibration.detectors) is not None:
        _check_finite(detectors.log_delta, detectors.high, detectors.low)
        names = [each.name for each in detectors.estimates]
        if len(set(names)) < len(names) or not set(names) <= set(DETECTORS):
            raise ValueError("There are detectors of other names.")
        for each in detectors.estimates:
            seeds = len(detectors.seeds)
            _check_shape(each.columns, (len(detectors.prompts), seeds, each.columns.shape[2]))
        detectors.scores({each.name: each.columns.flatten(0, 1) for each in detectors.estimates})
    if calibration.lid_noise_scale is not None:
        _check_finite(calibration.lid_noise_scale.log_delta)
    if calibration.cause is not None:
        weights, causes = calibration.cause.weights, calibration.cause.causes
        if weights is not None:
            _check_shape(weights, (len(causes), FEATURES + 1))
            _check_finite(*weights.flatten().tolist())


def _check_shape(values: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(values.shape) != shape or not values.is_floating_point():
        raise ValueError(f"A tensor has the shape {tuple(values.shape)} in place of {shape}.")


def _check_finite(*values: float) -> None:
    if not all(math.isfinite(value) for value in values):
        raise ValueError("A number is not finite.")
