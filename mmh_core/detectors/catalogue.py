"""All detectors by their stored name."""

from __future__ import annotations

from collections.abc import Mapping

from mmh_core.detectors.anisotropy import Anisotropy
from mmh_core.detectors.attention_entropy import AttentionEntropy
from mmh_core.detectors.denoised_spread import DenoisedSpread
from mmh_core.detectors.early_scan import EarlyScan
from mmh_core.detectors.guidance_norm import GuidanceNorm, GuidanceTrace
from mmh_core.detectors.lid import Lid
from mmh_core.detectors.lid_corrected import LidCorrected
from mmh_core.detectors.lid_difference import LidDifference
from mmh_core.detectors.measurement import Adaptable, Detector, ModelSettings
from mmh_core.detectors.reconstruction_cost import ReconstructionCost
from mmh_core.detectors.region_map import RegionMap
from mmh_core.detectors.representation_spread import RepresentationSpread
from mmh_core.detectors.return_distance import ReturnDistance
from mmh_core.detectors.score_norm import ScoreNorm
from mmh_core.detectors.seed_similarity import SeedSimilarity
from mmh_core.detectors.sharpness import Sharpness
from mmh_core.detectors.stability import Stability

DETECTORS: dict[str, Detector] = {
    "early_scan": EarlyScan(),
    "guidance_norm": GuidanceNorm(),
    "anisotropy": Anisotropy(),
    "score_norm": ScoreNorm(),
    "sharpness": Sharpness(),
    "attention_entropy": AttentionEntropy(),
    "guidance_norm_10": GuidanceTrace(10),
    "guidance_norm_all": GuidanceTrace(),
    "stability": Stability(),
    "region_map": RegionMap(),
    "lid_conditional_count": Lid("soft_spectral_count", "conditional"),
    "lid_unconditional_count": Lid("soft_spectral_count", "unconditional"),
    "lid_difference_count": LidDifference("soft_spectral_count"),
    "lid_corrected_count": LidCorrected("soft_spectral_count"),
    "lid_conditional_flipd": Lid("flipd", "conditional"),
    "lid_unconditional_flipd": Lid("flipd", "unconditional"),
    "lid_guided_flipd": Lid("flipd", "guided"),
    "lid_difference_flipd": LidDifference("flipd"),
    "lid_corrected_flipd": LidCorrected("flipd"),
    "lid_conditional_dsm": Lid("dsm", "conditional"),
    "lid_unconditional_dsm": Lid("dsm", "unconditional"),
    "lid_difference_dsm": LidDifference("dsm"),
    "lid_corrected_dsm": LidCorrected("dsm"),
    "seed_agreement": SeedSimilarity(),
    "representation_spread": RepresentationSpread(),
    "reconstruction_cost": ReconstructionCost(),
    "denoised_spread": DenoisedSpread(),
    "return_distance": ReturnDistance(),
}


def adapted(
    detectors: Mapping[str, Detector],
    *,
    log_delta: float,
    embedder: str,
    early: tuple[float, float] | None = None,
) -> dict[str, Detector]:
    """Return detectors with the noise scale of LID, the embedder and the times of a model.

    `early` is the pair of times of the early scan, from `choose_times`, and None leaves the
    published ones; the score norm is evaluated at the first of them.
    """
    settings = ModelSettings(log_delta, embedder, early)
    return {
        name: detector.adapted(settings) if isinstance(detector, Adaptable) else detector
        for name, detector in detectors.items()
    }
