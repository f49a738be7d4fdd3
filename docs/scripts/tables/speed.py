"""Tables of times, speed and memory, from the JSON of the benchmarks in `benchmarks/`."""

from __future__ import annotations

from pathlib import Path

from docs.scripts.figures import figure, magnitude, read, table, threads


def flipd_cost(data: Path) -> str:
    """Return what a probe of FLIPD costs, in forward passes."""
    found = read(data / "flipd-cost.json")
    bars = found["bars"]
    rows = [
        [row["network"], f"{row['one_probe']:.2f}", f"{row['further_probe']:.2f}"]
        for row in found["cost"]
    ]
    one, further = (figure(bars[name], 1) for name in ("one_probe", "further_probe"))
    return table(("network", f"one probe (bar {one})", f"each further (bar {further})"), rows)


def soft_count(data: Path) -> str:
    """Return how far the soft count lies from the exact one, and what both cost."""
    rows = [
        [
            row["model"],
            *(str(row["probes"]), str(row["steps"]), f"{row['exact']:.1f}"),
            f"{row['mean_error']:+.1f}",
            *(f"{row['rms_error']:.1f}", f"{row['standard_error']:.1f}"),
            *(f"{row['nfe']:.0f}", f"{row['exact_nfe']:.0f}"),
            *(f"{row['seconds_per_point']:.3f}", f"{row['exact_seconds_per_point']:.3f}"),
        ]
        for row in read(data / "flipd-cost.json")["soft_count"]
    ]
    heads = [
        *("model", "probes", "steps", "exact count", "bias", "root mean square error"),
        *("standard error stated", "NFE", "NFE, exact", "s for each point", "s, exact"),
    ]
    return table(heads, rows)


def data_lid(data: Path) -> str:
    """Return how much faster the estimators of data LID are than scikit-dimension's."""
    found = read(data / "data-lid.json")
    rows = [
        [
            row["estimator"],
            f"{row['estimator_ratio']:.1f}",
            f"{row['ratio']:.1f}",
            magnitude(row["largest_difference"]),
        ]
        for row in found["rows"]
    ]
    alone = f"times faster, estimator alone (bar {found['bar']:g})"
    return table(("estimator", alone, "with the neighbor search", "largest difference"), rows)


def generation(data: Path) -> str:
    """Return how fast images are generated, beside plain diffusers."""
    found = read(data / "generation.json")
    bars = found["bars"]
    rows = [
        ["four images, s", f"{found['ours']:.2f}", f"{bars['ours']:g}"],
        ["times plain diffusers", f"{found['ratio']:.2f}", f"{bars['ratio']:g}"],
        [
            "largest difference to its images",
            magnitude(found["difference"]),
            magnitude(bars["difference"]),
        ],
        ["load the model, with all imports, s", f"{found['load_with_imports']:.1f}", "-"],
        ["peak memory of the process, MB", f"{found['peak_mb']:,.0f}", "-"],
    ]
    return table((threads(found["threads"]), "measured", "bar"), rows)


def retrieval(data: Path) -> str:
    """Return how fast an index is built and searched."""
    found = read(data / "retrieval.json")
    rows = [
        [
            row["phase"],
            f"{row['seconds']:.3f}",
            "-" if row["bar"] is None else f"{row['bar']:g}",
            f"{row['peak_mib']:,.0f}",
            "yes" if row["exact"] else "no",
        ]
        for row in found["rows"]
    ]
    size = f"{found['count']:,} descriptors of dimension {found['dim']}"
    return table((size, "seconds", "bar", "peak memory, MiB", "exact"), rows)


def review(data: Path) -> str:
    """Return how long each call of a review takes."""
    rows = [
        [name, f"{middle:.1f}", f"{most:.1f}", f"{processor:.1f}", bar]
        for name, middle, most, processor, bar in read(data / "review.json")["queue"]
    ]
    return table(("call", "ms, median", "most", "of the processor", "bar"), rows)


def review_memory(data: Path) -> str:
    """Return what reading large tables and scans takes."""
    rows = [
        [name, f"{count:,}", f"{seconds:.1f}", f"{mib:.0f}"]
        for name, count, seconds, mib in read(data / "review.json")["memory"]
    ]
    return table(("read", "rows", "seconds", "MiB of memory"), rows)


def ten_windows(data: Path) -> str:
    """Return how the server answers ten browser windows at once."""
    rows = []
    for load in read(data / "ten-windows.json"):
        asked = len(load["images"]) + load["without"]
        rows.append(
            [
                load["name"],
                f"{min(load['images']):.1f} to {max(load['images']):.1f}",
                f"{load['without']} of {asked}",
                "yes" if load["in_order"] else "no",
                f"{max(load['other_page']):.1f}",
                f"{max(load['health']):.1f}",
                ", ".join(f"{value:,.0f}" for value in load["memory"]),
            ]
        )
    heads = ("server", "images, s", "without one after 4 min", "in order", "slowest other page, s")
    return table((*heads, "slowest health check, s", "memory after each round, MiB"), rows)
