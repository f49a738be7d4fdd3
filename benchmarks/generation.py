"""Measure how long images take, beside plain diffusers, and how long a model takes to load.

Run `python benchmarks/generation.py [--json FILE] [--threads N] [--model FOLDER]`. Four images
of 64 x 64 in 30 steps with guidance, by the shipped model or, where it is not built yet, by
random weights of its kind. Both ways take turns, so that a busy machine slows both alike, and
medians are compared. Loading is timed in a process of its own, with all imports. Exit status 1
when a bar is missed or when an image of ours is not that of diffusers.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere
from mmh_core.text_to_image.catalogue import CATALOGUE
from mmh_core.text_to_image.generation import generate_images
from mmh_core.text_to_image.model import TextToImage
from mmh_core.text_to_image.requests import Request, Sampling
from mmh_core.text_to_image.stable_diffusion import load

SECONDS_BAR = 6.0
RATIO_BAR = 1.1
# An eighth of a level of eight bits: kernels add up in another order on another processor.
DIFFERENCE_BAR = 5e-4
SEEDS = (1, 2, 3, 4)
STEPS = 30
GUIDANCE = 2.0
PROMPT = "a portrait of a person in a red hat"
TOKENS = 32


@dataclass(frozen=True)
class Figures:
    """Hold what was measured: medians in seconds, peak memory of this process in MB."""

    model: str
    parameters: int
    ours: float
    plain: float
    ratio: float
    difference: float
    load_with_imports: float
    load_again: float
    peak_mb: float
    torch: str
    threads: int


def random_text() -> tuple[Any, Any]:
    """Return a tokenizer of single letters and a text encoder with random weights."""
    import transformers

    letters = [chr(code) for code in range(33, 127)]
    words = [*letters, *(f"{letter}</w>" for letter in letters)]
    words += ["<|startoftext|>", "<|endoftext|>"]
    tokenizer = transformers.CLIPTokenizer(
        vocab={word: number for number, word in enumerate(words)}, merges=[]
    )
    tokenizer.model_max_length = TOKENS
    text = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=128,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        bos_token_id=len(words) - 2,
        eos_token_id=len(words) - 1,
        pad_token_id=len(words) - 1,
    )
    return tokenizer, transformers.CLIPTextModel(text)


def write_random(folder: Path) -> Path:
    """Write a pipeline of pocket's kind with random weights, and return its folder."""
    import diffusers

    tokenizer, text_encoder = random_text()
    build: Any = diffusers
    pipeline = build.StableDiffusionPipeline(
        vae=build.AutoencoderKL(
            block_out_channels=(32, 64, 96, 128),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
        ),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=build.UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(128, 256),
            down_block_types=("CrossAttnDownBlock2D",) * 2,
            up_block_types=("CrossAttnUpBlock2D",) * 2,
            layers_per_block=1,
            attention_head_dim=4,
            cross_attention_dim=128,
        ),
        scheduler=build.DDIMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            clip_sample=False,
            set_alpha_to_one=False,
            steps_offset=1,
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder / "random")
    return folder / "random"


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def plain(folder: Path) -> Callable[[], Tensor]:
    """Return what draws the same images with nothing but diffusers."""
    import diffusers

    build: Any = diffusers
    pipeline = build.StableDiffusionPipeline.from_pretrained(
        folder, safety_checker=None, low_cpu_mem_usage=False, dtype=torch.float32
    )
    pipeline.scheduler = build.DDIMScheduler.from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)

    def work() -> Tensor:
        images: Tensor = pipeline(
            PROMPT,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            num_images_per_prompt=len(SEEDS),
            generator=[torch.Generator().manual_seed(seed) for seed in SEEDS],
            output_type="pt",
        ).images
        return images

    return work


def loading(folder: Path) -> tuple[float, float]:
    """Return the seconds to import and load in a new process, and to load a second time there."""
    code = (
        "import sys, time; start = time.perf_counter()\n"
        "from mmh_core.text_to_image.stable_diffusion import load\n"
        "load(sys.argv[1]); once = time.perf_counter()\n"
        "load(sys.argv[1]); print(once - start, time.perf_counter() - once)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    first, again = run.stdout.split()
    return float(first), float(again)


def parameters(model: TextToImage) -> int:
    """Return how many numbers the three networks hold."""
    networks = (model.unet, model.autoencoder, model.text_encoder)
    return sum(weight.numel() for network in networks for weight in network.parameters())


def measure(folder: Path, repeats: int) -> Figures:
    """Take turns between ours and plain diffusers, and compare medians."""
    first, again = loading(folder)
    model = load(folder)
    request = Request(PROMPT, SEEDS, Sampling(STEPS, GUIDANCE, 64, 64))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    generate_images(model, request)
    peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    theirs = plain(folder)
    difference = float((generate_images(model, request) - theirs()).abs().max())
    pairs = [
        (seconds(lambda: generate_images(model, request)), seconds(theirs)) for _ in range(repeats)
    ]
    ours, others = (statistics.median(times) for times in zip(*pairs, strict=True))
    return Figures(
        model=model.name,
        parameters=parameters(model),
        ours=ours,
        plain=others,
        ratio=statistics.median(a / b for a, b in pairs),
        difference=difference,
        load_with_imports=first,
        load_again=again,
        peak_mb=peak / 1024,
        torch=torch.__version__,
        threads=torch.get_num_threads(),
    )


def main() -> int:
    """Measure, print, write, and tell whether all bars are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--threads", type=int, default=2, help="threads to compute on")
    parser.add_argument("--repeats", type=int, default=7, help="how often each way is timed")
    parser.add_argument("--model", type=Path, help="folder of another model for 64 x 64 images")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    shipped = Path(CATALOGUE["pocket-sd"].source)
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.model or (
            shipped if shipped.exists() else write_random(Path(temporary))
        )
        figures = measure(folder, arguments.repeats)
    print(f"{figures.model}: {figures.parameters / 1e6:.1f} million parameters")
    print(f"{'four images, 30 steps, guidance':36}{figures.ours:8.2f} s   bar {SECONDS_BAR} s")
    print(f"{'  plain diffusers':36}{figures.plain:8.2f} s")
    print(f"{'  ratio':36}{figures.ratio:8.3f}     bar {RATIO_BAR}")
    print(f"{'  largest difference':36}{figures.difference:8.1e}     bar {DIFFERENCE_BAR}")
    print(f"{'load, with all imports':36}{figures.load_with_imports:8.2f} s")
    print(f"{'load, again':36}{figures.load_again:8.2f} s")
    print(f"{'peak memory of the process':36}{figures.peak_mb:8.0f} MB")
    if arguments.json:
        bars = {"ours": SECONDS_BAR, "ratio": RATIO_BAR, "difference": DIFFERENCE_BAR}
        written = asdict(figures) | {"bars": bars}
        arguments.json.write_text(json.dumps(written, indent=2) + "\n")
    fast = figures.ours <= SECONDS_BAR and figures.ratio <= RATIO_BAR
    return 0 if fast and figures.difference <= DIFFERENCE_BAR else 1


if __name__ == "__main__":
    sys.exit(main())
