"""Measure what LID costs, in forward passes, and how well the soft spectral count does.

Run `python benchmarks/flipd_cost.py [--json FILE] [--threads N]`. First part: one probe of FLIPD
against one forward pass without gradients, and each further probe, on an MLP and on a diffusers
UNet with attention; all cases are repeated in turn, so that a busy machine slows all alike, and
medians are compared. Second part: soft spectral count by Lanczos quadrature against the whole
spectrum, for an exact Gaussian and for a small random network around it. Exit status 1 when a bar
is missed. On a busy machine one thread gives the steadier figures: two wait for one another.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a script, from anywhere

from mmh_core.diffusion.schedule import VariancePreserving
from mmh_core.diffusion.score_model import ScoreModel
from mmh_core.dimension.flipd import flipd
from mmh_core.dimension.lanczos import Effort
from mmh_core.dimension.spectral import soft_spectral_count, soft_spectral_count_exact

SCHEDULE = VariancePreserving()
ONE_PROBE_BAR = 2.6
FURTHER_PROBE_BAR = 1.4
FURTHER = 4
LOG_DELTA = -1.5


@dataclass(frozen=True)
class Cost:
    """Hold the cost of FLIPD on one network, in forward passes without gradients."""

    network: str
    forward_ms: float
    one_probe: float
    further_probe: float


@dataclass(frozen=True)
class Accuracy:
    """Hold one soft count by quadrature beside the exact one, averaged over points."""

    model: str
    dim: int
    probes: int
    steps: int
    exact: float
    mean_error: float
    rms_error: float
    standard_error: float
    nfe: float
    seconds_per_point: float
    exact_nfe: float
    exact_seconds_per_point: float


def mlp(dim: int, width: int, layers: int) -> nn.Sequential:
    """Return a network with `layers` hidden layers and torch's default weights."""
    sizes = [dim] + [width] * layers
    blocks = [nn.Sequential(nn.Linear(a, b), nn.SiLU()) for a, b in pairwise(sizes)]
    return nn.Sequential(*blocks, nn.Linear(width, dim))


def mlp_model(dim: int = 100) -> ScoreModel:
    """Return an eps-model of a random MLP of width 512 with 4 layers; parameters not frozen."""
    network = mlp(dim, 512, 4)
    return ScoreModel(lambda x, t, cond: network(x), SCHEDULE, "eps", (dim,))


def unet_model() -> ScoreModel:
    """Return an eps-model of a random UNet, 3 x 32 x 32, with attention at the lower level."""
    from diffusers import UNet2DModel

    build = cast(Callable[..., nn.Module], UNet2DModel)
    network = build(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        layers_per_block=1,
        block_out_channels=(64, 128),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
    ).eval()

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        output: Tensor = network(x_t, t * 1000).sample
        return output

    return ScoreModel(net, SCHEDULE, "eps", (3, 32, 32))


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_cost(name: str, model: ScoreModel, batch: int, repeats: int) -> Cost:
    """Time a forward pass, one probe and 1 + FURTHER probes in turn; compare their medians."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, *model.shape, generator=generator)
    t = SCHEDULE.time_at(torch.tensor(LOG_DELTA)).expand(batch)

    def forward() -> None:
        with torch.no_grad():
            model.eps(x, t)

    estimate = partial(flipd, model, x, LOG_DELTA, generator=generator)
    cases: dict[str, Callable[[], object]] = {
        "forward": forward,
        "one": partial(estimate, probes=1),
        "many": partial(estimate, probes=1 + FURTHER),
    }
    times: dict[str, list[float]] = {key: [] for key in cases}
    for repeat in range(repeats + 2):
        for key, work in cases.items():
            spent = seconds(work)
            if repeat >= 2:
                times[key].append(spent)
    median = {key: statistics.median(values) for key, values in times.items()}
    return Cost(
        name,
        median["forward"] * 1e3,
        median["one"] / median["forward"],
        (median["many"] - median["one"]) / FURTHER / median["forward"],
    )


def structured(dim: int, rank: int, noise: float) -> ScoreModel:
    """Return the exact model of a Gaussian of falling widths on a rotated subspace, disturbed.

    `noise` scales a random network added to the denoiser, whose Jacobian is not symmetric and
    spreads the eigenvalues: what a trained network looks like from here.
    """
    generator = torch.Generator().manual_seed(1)
    square = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    frame = torch.linalg.qr(square).Q.float()[:, :rank]
    variances = torch.logspace(0.5, -1.5, rank)
    network = mlp(dim, 512, 2)
    with torch.no_grad():
        for parameter in network.parameters():
            # Biases 0, weights that keep the size of their input.
            scale = parameter.shape[-1] ** -0.5 if parameter.dim() == 2 else 0.0
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))

    def net(x_t: Tensor, t: Tensor, cond: Tensor | None) -> Tensor:
        alpha, sigma = (f(t)[:, None] for f in (SCHEDULE.alpha, SCHEDULE.sigma))
        gain = alpha * variances / (alpha.square() * variances + sigma.square())
        denoised: Tensor = (x_t @ frame * gain) @ frame.T + noise * network(x_t)
        return denoised

    return ScoreModel(net, SCHEDULE, "x0", (dim,))


def measure_accuracy(
    dim: int, rank: int, noise: float, points: int, efforts: list[Effort]
) -> list[Accuracy]:
    """Compare quadrature and the whole spectrum at `points` points of the model."""
    model = structured(dim, rank, noise)
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(points, dim, generator=generator) * 0.3
    start = time.perf_counter()
    exact = soft_spectral_count_exact(model, x, LOG_DELTA)
    exact_seconds = time.perf_counter() - start
    rows = []
    for effort in efforts:
        start = time.perf_counter()
        found = soft_spectral_count(model, x, LOG_DELTA, effort=effort, generator=generator)
        soft_seconds = time.perf_counter() - start
        error = found.lid - exact.lid
        rows.append(
            Accuracy(
                "exact Gaussian" if noise == 0 else "disturbed",
                dim,
                effort.probes,
                effort.steps,
                exact.lid.mean().item(),
                error.mean().item(),
                error.square().mean().sqrt().item(),
                found.standard_error.square().mean().sqrt().item(),
                found.nfe,
                soft_seconds / points,
                exact.nfe,
                exact_seconds / points,
            )
        )
    return rows


def print_costs(costs: list[Cost]) -> None:
    """Print the first table."""
    print(f"{'network':34} {'forward':>9} {'one probe':>10} {'each further':>13}")
    print(f"{'':34} {'ms':>9} {'(bar ' + str(ONE_PROBE_BAR) + ')':>10} {'(bar 1.4)':>13}")
    for c in costs:
        print(f"{c.network:34} {c.forward_ms:9.1f} {c.one_probe:10.2f} {c.further_probe:13.2f}")


def print_accuracies(rows: list[Accuracy]) -> None:
    """Print the second table."""
    print(
        f"\n{'soft spectral count':20} {'D':>4} {'K':>3} {'m':>3} {'exact':>7} {'bias':>7} "
        f"{'rms':>6} {'s.e.':>6} {'nfe':>9} {'s/point':>8} "
        f"{'exact network evaluations, s/point':>24}"
    )
    for r in rows:
        print(
            f"{r.model:20} {r.dim:4} {r.probes:3} {r.steps:3} {r.exact:7.2f} {r.mean_error:7.2f} "
            f"{r.rms_error:6.2f} {r.standard_error:6.2f} {r.nfe:9.0f} "
            f"{r.seconds_per_point:8.4f} {r.exact_nfe:14.0f} {r.exact_seconds_per_point:9.4f}"
        )


def main() -> int:
    """Measure, print, write JSON, and return 1 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    parser.add_argument("--threads", type=int, default=2, help="threads to compute on")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    costs = [
        measure_cost("MLP, D 100, 4 x 512, batch 256", mlp_model(), 256, 41),
        measure_cost("UNet, 3 x 32 x 32, batch 4", unet_model(), 4, 11),
    ]
    print_costs(costs)
    efforts = [Effort(8, 5), Effort(8, 10), Effort(32, 5)]
    accuracies = [
        row
        for dim, rank, points in ((100, 12, 32), (784, 20, 8))
        for noise in (0.0, 0.2)
        for row in measure_accuracy(dim, rank, noise, points, efforts)
    ]
    print_accuracies(accuracies)
    if arguments.json:
        figures = {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "bars": {"one_probe": ONE_PROBE_BAR, "further_probe": FURTHER_PROBE_BAR},
            "cost": [asdict(each) for each in costs],
            "soft_count": [asdict(each) for each in accuracies],
        }
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")
    missed = [
        c for c in costs if c.one_probe > ONE_PROBE_BAR or c.further_probe > FURTHER_PROBE_BAR
    ]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
