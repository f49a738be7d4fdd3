"""Measure how fast prompts are scanned, beside a loop and beside the published way.

Run `python benchmarks/scan.py [--prompts 1000] [--threads 2] [--json FILE]`, with the shipped
model. The early scan of all prompts in batches is compared with the same scan one prompt at a
time, and with the published way to detect memorization: 50 steps with guidance, four images per
prompt, the guidance norm averaged over all of them. The two slow ways are timed on fewer prompts,
in turns with the batches, and compared per prompt.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere
from mmh_core.studies.detection.labelled_prompts import pocket_labelled
from mmh_core.subject.calibration import calibration_beside
from mmh_core.subject.early_calibration import score_prompts
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.generation import generate
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load

LOOP_BAR, PUBLISHED_BAR = 3.0, 15.0
_BATCH, _LOOPED, _PUBLISHED = 48, 16, 2


def main() -> None:
    """Measure, print a table and write JSON; exit status 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    folder = Path(CATALOGUE["pocket-sd"].source)
    model, calibration = load("pocket-sd"), calibration_beside(folder).early
    if calibration is None:
        raise SystemExit(f"{folder} holds no calibration: build it again.")
    known = [one.prompt for one in pocket_labelled(folder)]
    texts = [f"{known[i % len(known)]}, {i}" for i in range(given.prompts)]

    def batches(prompts: list[str]) -> None:
        for start in range(0, len(prompts), _BATCH):
            score_prompts(model, calibration, prompts[start : start + _BATCH])

    def loop(prompts: list[str]) -> None:
        for prompt in prompts:
            score_prompts(model, calibration, [prompt])

    def published(prompts: list[str]) -> None:
        for prompt in prompts:
            request = Request(prompt, (0, 1, 2, 3), Sampling(50, 7.5, *model.image_size))
            torch.stack([step.guidance_norm for step in generate(model, request)]).mean()

    batches(texts[:_BATCH])
    loops, ways = [], []
    for _ in range(given.rounds):
        one = _seconds(lambda: batches(texts[:_BATCH])) / _BATCH
        loops.append(_seconds(lambda: loop(texts[:_LOOPED])) / _LOOPED / one)
        ways.append(_seconds(lambda: published(texts[:_PUBLISHED])) / _PUBLISHED / one)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = _seconds(lambda: batches(texts))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1e3
    found = {
        "prompts": given.prompts,
        "prompts_per_second": given.prompts / seconds,
        "times_a_loop": statistics.median(loops),
        "times_the_published_way": statistics.median(ways),
        "memory_grown_mb": grown,
        "threads": given.threads,
        "bars": {"times_a_loop": LOOP_BAR, "times_the_published_way": PUBLISHED_BAR},
    }
    print("| scan | measured | bar |")
    print("|---|---|---|")
    pace = found["prompts_per_second"]
    print(f"| prompts per second, {given.prompts:,} prompts | {pace:.0f} | - |")
    print(f"| against a loop over prompts | {found['times_a_loop']:.1f} times | {LOOP_BAR:g} |")
    print(
        f"| against 50 steps, 4 images | {found['times_the_published_way']:.0f} times | "
        f"{PUBLISHED_BAR:g} |"
    )
    print(f"| memory added by all prompts, MB | {grown:.0f} | - |")
    if given.json is not None:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    short = found["times_a_loop"] < LOOP_BAR or found["times_the_published_way"] < PUBLISHED_BAR
    raise SystemExit(short)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
