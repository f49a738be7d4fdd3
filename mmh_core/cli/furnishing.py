"""What the stages of furnishing share: the folder of the model, its parts, and where they go."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mmh_core.installation import app_folder
from mmh_core.subject.devices import device_of
from mmh_core.text_to_image.catalogue import CATALOGUE

if TYPE_CHECKING:
    from mmh_core.subject.calibration import Calibration
    from mmh_core.subject.subject import Subject
    from mmh_core.text_to_image.model import TextToImage

#: The folder of the model that comes with the program.
POCKET = Path(CATALOGUE["pocket-sd"].source)


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
        shipped = self.folder.resolve() == POCKET.resolve()
        return "pocket-sd" if shipped else str(self.folder)

    def figures(self, name: str) -> Path:
        """Return the file of figures that the documentation reads, in the work folder elsewhere.

        It reads those of the model that comes with the program, in a checkout.
        """
        data = app_folder() / "docs" / "results" / "data"
        beside_docs = self.model_name == "pocket-sd" and data.is_dir()
        return (data if beside_docs else self.work) / f"{name}.json"

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

    def merge_calibration(self, parts: Calibration) -> None:
        """Write parts of the calibration beside the model, and list the digests of the folder.

        A calibration of other weights makes way.
        """
        from mmh_core.pocket.assets import write_manifest
        from mmh_core.subject.calibration import FILE, calibration_beside, write_calibration

        beside = calibration_beside(self.folder)
        calibration = beside.with_parts(parts) if beside.sha256 == parts.sha256 else parts
        write_calibration(self.folder / FILE, calibration)
        write_manifest(self.folder)
