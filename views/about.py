"""What the app says of itself in the menu of every page."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def about() -> str:
    """Return name, version, license and where its words are explained, as Markdown."""
    try:
        number = f"Version {version('mmh')}. "
    except PackageNotFoundError:
        number = ""
    return (
        "**Manifold memorization**: which images a diffusion model copies from its training set, "
        f"by local intrinsic dimension. {number}License: Apache-2.0.\n\n"
        "Words are explained in the [glossary](glossary). Theme and print are in this menu, under "
        "*Settings* and *Print*. Prompts, images and verdicts stay in the data folder that the "
        "overview names. The app contacts nobody, except, with consent, the service for rewording "
        "prompts that `--endpoint` names."
    )
