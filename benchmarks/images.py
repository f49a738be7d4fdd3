"""Measure what reading LID, guidance norms and copies adds to drawing images.

Run `python benchmarks/images.py [--json FILE] [--threads N] [--full FOLDER]`. Four images of the
shipped model, 30 steps with guidance: drawing alone and the whole study (without curves and
decoded steps) take turns, so that a busy machine slows both alike; the median of the pairs'
ratios counts. With `--full` a model of Stable Diffusion 1.5's size in FOLDER (random weights are
written there when it is empty) is loaded and one network evaluation, FLIPD with eight probes and
the peak memory are measured; the soft spectral count takes five products per probe instead of one.
Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere
from mmh_core.dimension.flipd import flipd
from mmh_core.studies.images.run import default_config
from mmh_core.studies.images.study import image_study
from mmh_core.subject.calibration import calibration_beside
from mmh_core.subject.subject import Subject
from mmh_core.subject.training_set import pocket_training_set
from mmh_core.text_to_image.catalogue import CATALOGUE, threads_for
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.stable_diffusion import load

RATIO_BAR = 1.5
PROMPT = "a portrait of a person in a red hat"


@dataclass(frozen=True)
class Added:
    """Hold medians over the pairs, in seconds, and the spread of their ratio."""

    drawing: float
    study: float
    ratio: float
    least: float
    most: float
    threads: int


@dataclass(frozen=True)
class FullSize:
    """Hold what a model of full size takes: seconds, forward passes and peak memory in GB."""

    side: int
    forward: float
    lid: float
    lid_in_nfe: float
    peak_gb: float
    threads: int


def added(pairs: int) -> Added:
    """Time drawing and the study in turns."""
    folder = Path(CATALOGUE["pocket-sd"].source)
    model, known = load("pocket-sd"), calibration_beside(folder)
    subject = Subject(model, pocket_training_set(folder, known), known)
    config = replace(default_config(model, "pocket-sd", PROMPT), curve=False, frames=0)
    request = config.request(PROMPT)

    def study() -> None:
        for _ in image_study(config, subject):
            pass

    generate_images(model, request)
    study()
    found = []
    for _ in range(pairs):
        found.append((_seconds(lambda: generate_images(model, request)), _seconds(study)))
    ratios = [both[1] / both[0] for both in found]
    return Added(
        statistics.median(both[0] for both in found),
        statistics.median(both[1] for both in found),
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        torch.get_num_threads(),
    )


def full_size(folder: Path) -> FullSize:
    """Time one forward pass and one LID reading of a model of full size, one image."""
    if not (folder / "model_index.json").exists():
        pipelines = importlib.import_module("tests.text_to_image.pipelines")
        folder = pipelines.write_pipeline(folder, "sd15-full", size=64)
    model = load(folder)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, *model.score_model.shape, generator=generator)
    t = torch.full((1,), 0.3)
    cond = model.encode_text([PROMPT])
    with torch.no_grad():
        model.score_model.eps(latents, t, cond)
        forward = statistics.median(
            _seconds(lambda: model.score_model.eps(latents, t, cond)) for _ in range(3)
        )
    lid = _seconds(
        lambda: flipd(model.score_model, latents, 0.0, cond=cond, probes=8, generator=generator)
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return FullSize(
        model.image_size[0], forward, lid, lid / forward, peak, torch.get_num_threads()
    )


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main() -> None:
    """Print the tables and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--threads", type=int, help="As the app draws unless given.")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--full", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads or threads_for("pocket-sd" if given.full is None else ""))
    if given.full is not None:
        big = full_size(given.full)
        print("| size | a forward, s | FLIPD, 8 probes, s | in network evaluations | peak, GB |")
        print("|---|---|---|---|---|")
        print(
            f"| {big.side} | {big.forward:.2f} | {big.lid:.1f} | {big.lid_in_nfe:.1f} | "
            f"{big.peak_gb:.1f} |"
        )
        if given.json is not None:
            given.json.write_text(json.dumps(asdict(big), indent=2) + "\n")
        return
    found = added(given.pairs)
    print("| four images | seconds |")
    print("|---|---|")
    print(f"| drawing alone | {found.drawing:.2f} |")
    print(f"| with LID, guidance norms and retrieval | {found.study:.2f} |")
    print(
        f"\nRatio {found.ratio:.2f} ({found.least:.2f} to {found.most:.2f}; bar {RATIO_BAR}), "
        f"{found.threads} threads."
    )
    if given.json is not None:
        written = asdict(found) | {"pairs": given.pairs, "bar": RATIO_BAR}
        given.json.write_text(json.dumps(written, indent=2) + "\n")
    raise SystemExit(found.ratio > RATIO_BAR)


if __name__ == "__main__":
    main()
