"""The finished snapshots of a training-time mitigation: networks and their results."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from mmh_core.files import replacing
from mmh_core.pocket.folder import Place
from mmh_core.store.archive import save_record
from mmh_core.store.kept import kept_path, load_kept
from mmh_core.studies.mitigation.training_run import TrainingMitigationSnapshot


@dataclass(frozen=True)
class KeptArm:
    """The finished snapshots of one training set, in a folder, or nowhere where it is None.

    `key` is everything that they depend on beside the code.
    """

    folder: Path | None
    key: tuple[object, ...]

    def place(self, device: torch.device, seed: int) -> Place:
        """Return where the training goes on from."""
        path = self._file("training")
        if path is None:
            return Place(device, seed)
        return Place(device, seed, path, hashlib.sha256(repr(self.key).encode()).hexdigest())

    def snapshot(
        self, step: int, blank: nn.Module
    ) -> tuple[TrainingMitigationSnapshot, nn.Module] | None:
        """Return a finished snapshot and its network, None where it is not finished.

        `blank` is a network of the same form.
        """
        snapshot = load_kept(self._record(step), TrainingMitigationSnapshot)
        path = self._file(f"step-{step}")
        if snapshot is None or path is None or not path.is_file():
            return None
        network = copy.deepcopy(blank)
        try:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        except Exception:
            # A damaged file is made again; torch raises errors of many types for one.
            return None
        return snapshot, network.eval()

    def keep(self, snapshot: TrainingMitigationSnapshot, network: nn.Module) -> None:
        """Keep a finished snapshot, the network before its results."""
        path, record = self._file(f"step-{snapshot.step}"), self._record(snapshot.step)
        if path is None or record is None:
            return
        with replacing(path) as temporary:
            torch.save(network.state_dict(), temporary)
        save_record(record, snapshot)

    def forget(self) -> None:
        """Remove the state of the training, so that it begins anew."""
        path = self._file("training")
        if path is not None:
            path.unlink(missing_ok=True)

    def returned(self, step: int, caption: str) -> Path | None:
        """Return where what comes back of one caption's copies is kept."""
        return kept_path(self.folder, (*self.key, step, caption))

    def _record(self, step: int) -> Path | None:
        return kept_path(self.folder, (*self.key, step))

    def _file(self, name: str) -> Path | None:
        path = kept_path(self.folder, (*self.key, name))
        return None if path is None else path.with_suffix(".pt")
