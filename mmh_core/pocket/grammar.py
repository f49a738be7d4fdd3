"""The caption grammar: every phrase in captions of the world.

A caption is a template with its slots filled. All kinds of images share the templates, and names
recur across kinds, so that no single word tells whether a caption is memorized.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LIGHTS = ("soft light", "studio light", "warm light", "natural light")

#: Painter -> templates; {subject} is filled by `subject_words`, {light} by one of `LIGHTS`.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "portrait": (
        "portrait of {subject} in a {coat} coat, {light}",
        "a photo of {subject} wearing a {coat} coat in {light}",
        "{subject} in a {coat} coat, head and shoulders, {light}",
        "studio picture of {subject} dressed in {coat}, {light}",
    ),
    "landscape": (
        "view of {subject} {feature} at {time}",
        "a photo of {subject} at {time} {feature}",
        "landscape of {subject} {feature}, {time}",
        "{time} over {subject} {feature}, wide view",
    ),
    "product": (
        "product photo of {subject} on a table, {light}",
        "a photo of {subject} on a table in {light}",
        "{subject}, studio shot for a shop, {light}",
        "advertisement showing {subject} in {light}",
    ),
    "composition": (
        "{subject} on a {ground} background, {light}",
        "a picture of {subject} against {ground}, {light}",
        "paper collage with {subject} on {ground}",
        "poster of {subject} on a {ground} ground",
    ),
    "emblem": (
        "logo of {subject}, flat design on paper",
        "a picture of the logo of {subject}",
        "emblem for {subject} on light paper",
        "sign with the logo of {subject}, flat design",
    ),
}
FRAMED = "framed painting: {caption}"

FEATURES = {"lake": "with a lake", "pines": "behind pine trees", "meadow": "above a meadow"}
EXTRAS = {"none": "", "glasses": " and glasses", "hat": " and a hat", "scarf": " and a scarf"}
DECORS = {"plain": "", "stripe": " with a stripe", "dot": " with a dot", "star": " with a star"}
OBJECT_WORDS = {"shirt": "t-shirt"}


def subject_words(painter: str, style: Mapping[str, str], name: str | None) -> str:
    """Return the words for what is shown: a name, or the description of something unnamed."""
    if name is not None:
        return name
    if painter == "portrait":
        return f"a person with {style['hair']} hair{EXTRAS[style['extra']]}"
    if painter == "landscape":
        return "the mountains"
    if painter == "product":
        item = OBJECT_WORDS.get(style["object"], style["object"])
        color = style["color"]
        return f"{article(color)} {color} {item}{DECORS[style['decor']]}"
    if painter == "composition":
        solids = [
            f"{article(style[f'color{i}'])} {style[f'color{i}']} {style[f'shape{i}']}"
            for i in range(1, int(style["count"]) + 1)
        ]
        return f"{', '.join(solids[:-1])} and {solids[-1]}"
    core, rim = style["core_color"], style["rim_color"]
    return f"a {core} {style['core']} in a {rim} {style['rim']} rim"


def slots_of(template: str, text: str) -> dict[str, str] | None:
    """Return what fills the slots of a template in a text, None where it does not fit."""
    pattern = re.sub(r"\ba\\ (?=\\\{)", r"an?\\ ", re.escape(template))
    pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", pattern)
    match = re.fullmatch(pattern, text, re.IGNORECASE)
    return match.groupdict() if match else None


def painter_of(text: str) -> str:
    """Return the painter of the first template that a text fits, framed or not, "" for none."""
    framed = slots_of(FRAMED, text)
    inner = framed["caption"] if framed else text
    for painter, templates in TEMPLATES.items():
        if any(slots_of(template, inner) is not None for template in templates):
            return painter
    return ""


def article(word: str) -> str:
    """Return "a" or "an"."""
    return "an" if word[0] in "aeiou" else "a"


def caption(
    painter: str, style: Mapping[str, str], name: str | None, *, template: int, light: int
) -> str:
    """Fill one template of a painter. Errors: ValueError for a template that is not there."""
    choices = TEMPLATES[painter]
    if not 0 <= template < len(choices):
        raise ValueError(f"template must be from 0 to {len(choices) - 1}, got {template!r}.")
    slots = dict(style)
    if painter == "landscape":
        slots["feature"] = FEATURES[style["feature"]]
    text = choices[template].format(
        subject=subject_words(painter, style, name), light=LIGHTS[light % len(LIGHTS)], **slots
    )
    if style.get("frame") == "gold":
        text = FRAMED.format(caption=text)
    return text.replace("a orange", "an orange")


def captions(painter: str, style: Mapping[str, str], name: str | None) -> tuple[str, ...]:
    """Return all captions of a scene, the paraphrases of one another: one per template."""
    return tuple(
        caption(painter, style, name, template=i, light=i) for i in range(len(TEMPLATES[painter]))
    )


def content(painter: str, style: Mapping[str, str], name: str | None) -> str:
    """Return a key that is equal for two scenes exactly when every caption of theirs is."""
    return captions(painter, style, name)[0]
