"""Sentences on speed."""

from __future__ import annotations

from pathlib import Path

from docs.scripts.figures import read, threads


def scan(data: Path) -> str:
    """Return how fast a scan is."""
    found = read(data / "scan.json")
    bars = found["bars"]
    return (
        f"{found['prompts_per_second']:.0f} prompts a second on {threads(found['threads'])}, "
        f"{found['prompts']:,} prompts: {found['times_a_loop']:.1f} times as fast as a loop over "
        f"prompts (bar {bars['times_a_loop']:g}), {found['times_the_published_way']:.0f} times as "
        f"fast as generating four images of fifty steps for each prompt "
        f"(bar {bars['times_the_published_way']:g}). All prompts together add "
        f"{found['memory_grown_mb']:.0f} MB of memory."
    )


def images(data: Path) -> str:
    """Return what LID and the copy search add to generating images."""
    found = read(data / "images.json")
    side = "above" if found["ratio"] > found["bar"] else "within"
    return (
        "The whole study (LID, guidance norms, the search for copies, mirrored and cropped ones "
        f"among them) takes {found['ratio']:.2f} times as long as generating alone, on "
        f"{threads(found['threads'])}; the median of {found['pairs']} pairs, from "
        f"{found['least']:.2f} to {found['most']:.2f}, {side} the bar of {found['bar']:g}."
    )
