"""LID: the local intrinsic dimension of the model's distribution at the generated image."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor

from mmh_core.detectors.grids import LOG_DELTAS, Grid
from mmh_core.detectors.inputs import DetectorInputs, rows_at_once
from mmh_core.detectors.measurement import Measurement, ModelSettings, Need, OneColumn
from mmh_core.diffusion.score_model import guided
from mmh_core.dimension.estimators import ESTIMATORS
from mmh_core.text_to_image.image_probes import probe_generators
from mmh_core.text_to_image.model import TextToImage

LidEstimator = Literal["soft_spectral_count", "flipd", "dsm"]
Branch = Literal["conditional", "unconditional", "guided"]
#: The noise scale of the shipped model's calibration; studies set the model's own.
LOG_DELTA = math.log(0.34)

CITATIONS: dict[LidEstimator, str] = {
    "soft_spectral_count": "hypothesis: Ross et al. 2025; estimator: this project",
    "flipd": "hypothesis: Ross et al. 2025; FLIPD: Kamkari et al. 2024",
    "dsm": "hypothesis: Ross et al. 2025; denoising loss: Yeats et al. 2025",
}
#: One word per estimator in names of detectors.
SHORT: dict[LidEstimator, str] = {"soft_spectral_count": "count", "flipd": "flipd", "dsm": "dsm"}


@dataclass(frozen=True)
class Lid(OneColumn):
    """Minus the model's LID at the final latents, at the noise scale `log_delta`.

    Ross et al. 2025 (arXiv 2411.00113): an image is memorized where LID is too small. `branch`
    is the score used: conditional on the prompt, unconditional (no caption), or guided, which is
    not the score of any density. Each image has its own probes, drawn
    from the model, the prompt and the image (`text_to_image.image_probes`), so that its value does
    not depend on its company. The cost is the estimator's, twice for the guided score.
    """

    estimator: LidEstimator = "soft_spectral_count"
    branch: Branch = "conditional"
    log_delta: float = LOG_DELTA
    needs: ClassVar[Need] = "image"
    grid: ClassVar[Grid] = {"log_delta": LOG_DELTAS}

    @property
    def name(self) -> str:
        """Return lid_BRANCH_ESTIMATOR."""
        return f"lid_{self.branch}_{SHORT[self.estimator]}"

    @property
    def label(self) -> str:
        """Return the name, with its branch and estimator."""
        return f"LID, {self.branch} ({ESTIMATORS[self.estimator].label})"

    @property
    def summary(self) -> str:
        """Return one sentence on what it measures."""
        return f"Minus the {self.branch} LID of the model at the generated image."

    @property
    def citation(self) -> str:
        """Return the citations of hypothesis and estimator."""
        return CITATIONS[self.estimator]

    def adapted(self, settings: ModelSettings) -> Lid:
        """Return this detector at the model's noise scale."""
        return replace(self, log_delta=settings.log_delta)

    def measure(self, model: TextToImage, inputs: DetectorInputs) -> Measurement:
        """Return the LID (B, 1)."""
        trace = inputs.generated()
        run = ESTIMATORS[self.estimator].run
        score_model, evaluations_per_score = model.score_model, 1
        if self.branch == "guided":
            score_model, evaluations_per_score = guided(score_model, trace.guidance), 2
        lid = torch.empty(len(inputs), 1)
        cost = 0.0
        for group in inputs.groups():
            for rows in torch.split(group, max(1, rows_at_once(model) // 2)):
                cond = inputs.embeddings[inputs.prompt_index[rows]].to(model.device)
                estimate = run(
                    score_model,
                    trace.latents[rows].to(model.device),
                    self.log_delta,
                    cond=None if self.branch == "unconditional" else cond,
                    generator=probe_generators(
                        *(model, self.estimator),
                        [inputs.text(row) for row in rows.tolist()],
                        trace.images[rows],
                    ),
                )
                lid[rows, 0] = estimate.lid.float().cpu()
                cost += evaluations_per_score * estimate.nfe * len(rows)
        return Measurement(lid, cost / len(inputs), trace.nfe)

    def score(self, values: Tensor) -> Tensor:
        """Return minus the LID."""
        return -values[:, 0]
