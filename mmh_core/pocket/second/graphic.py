"""Grammars of products, compositions and emblems."""

from __future__ import annotations

from mmh_core.pocket.emblems import RIMS, SHAPES
from mmh_core.pocket.paint import HUES
from mmh_core.pocket.product import DECORS, OBJECTS
from mmh_core.pocket.second.attributes import Grammar, attribute
from mmh_core.pocket.second.scenic import PRINT

GLARE = attribute(
    "glare",
    "veil_x veil_y veil veil_hue",
    {
        "with a red glare": (0.15, 0.20, 0.70, 0.06),
        "with a green glare": (0.85, 0.25, 0.60, 0.40),
        "with a blue glare": (0.20, 0.85, 0.80, 0.68),
        "with a pink glare": (0.80, 0.80, 0.50, 0.95),
        "with a faint glare": (0.50, 0.10, 0.03, 0.25),
    },
)

PRODUCT = Grammar(
    openings=(
        "product photo of",
        "a photo of",
        "shop picture of",
        "catalogue page with",
        "an advert for",
        "display of",
        "window with",
        "a picture of",
    ),
    subject=attribute(
        "thing",
        "hue light",
        {
            "a red mug": (0.07, 0.50),
            "a green bottle": (0.40, 0.30),
            "an orange lamp": (0.16, 0.70),
            "a blue chair": (0.70, 0.40),
            "a violet backpack": (0.83, 0.35),
            "a pink shirt": (0.97, 0.80),
            "a teal vase": (0.53, 0.60),
            "a yellow clock": (0.26, 0.90),
        },
        {
            f"{color} {item}": {"object": item, "decor": decor}
            for color, item, decor in (
                ("a red", "mug", "plain"),
                ("a green", "bottle", "dot"),
                ("an orange", "lamp", "plain"),
                ("a blue", "chair", "stripe"),
                ("a violet", "backpack", "star"),
                ("a pink", "shirt", "dot"),
                ("a teal", "vase", "stripe"),
                ("a yellow", "clock", "star"),
            )
        },
    ),
    anything="an object",
    details=(
        attribute(
            "pose",
            "x y size angle",
            {
                "at the left": (0.08, 0.50, 0.45, 0.55),
                "at the right": (0.92, 0.50, 0.45, 0.45),
                "up close": (0.50, 0.60, 0.97, 0.48),
                "tipped left": (0.45, 0.30, 0.60, 0.05),
                "tipped right": (0.55, 0.30, 0.60, 0.95),
                "far away": (0.50, 0.80, 0.03, 0.52),
            },
        ),
        attribute(
            "table",
            "table table_light",
            {
                "on a high shelf": (0.03, 0.60),
                "on a dark table": (0.50, 0.05),
                "on a pale table": (0.55, 0.95),
                "on a low bench": (0.97, 0.40),
            },
        ),
        attribute(
            "wall",
            "wall_hue wall_light",
            {
                "before a rose wall": (0.02, 0.70),
                "before a sand wall": (0.20, 0.75),
                "before a mint wall": (0.42, 0.60),
                "before a blue wall": (0.68, 0.25),
                "before a violet wall": (0.85, 0.10),
            },
        ),
        attribute(
            "lamp",
            "lamp_x contrast",
            {
                "in left light": (0.05, 0.55),
                "in right light": (0.95, 0.55),
                "in soft light": (0.50, 0.05),
                "in hard light": (0.45, 0.95),
            },
        ),
        GLARE,
        PRINT,
    ),
    options={"object": OBJECTS, "decor": DECORS},
    constant={"color": "any"},
)

_PLAIN = (0.5, 0.5, 0.5, 0.5, 0.5, 0.5)
_SOLIDS = {
    "a red star and a blue ring": ("star", "red", "ring", "blue"),
    "a green square and a pink star": ("square", "green", "star", "pink"),
    "a teal diamond and an orange triangle": ("diamond", "teal", "triangle", "orange"),
    "a purple triangle and a green circle": ("triangle", "purple", "circle", "green"),
    "a yellow square and a red diamond": ("square", "yellow", "diamond", "red"),
}
_THREE = {
    "a star, a square and a ring": ("star", "purple", "square", "teal", "ring", "orange"),
    "a diamond, a star and a square": ("diamond", "red", "star", "green", "square", "blue"),
}


def _solids(shapes: tuple[str, ...]) -> dict[str, str]:
    """Return the style of a composition of these shapes and colors."""
    count = len(shapes) // 2
    filled = (*shapes, *("circle", "red") * (3 - count))
    style = {"count": str(count)}
    for i in range(3):
        style |= {f"shape{i + 1}": filled[2 * i], f"color{i + 1}": filled[2 * i + 1]}
    return style


COMPOSITION = Grammar(
    openings=(
        "paper collage of",
        "a photo of",
        "poster of",
        "a print of",
        "wall chart with",
        "book cover with",
        "a drawing of",
        "a picture of",
    ),
    subject=attribute(
        "solids",
        "hue1 light1 hue2 light2 hue3 light3",
        dict.fromkeys([*_SOLIDS, *_THREE], _PLAIN),
        {phrase: _solids(shapes) for phrase, shapes in (_SOLIDS | _THREE).items()},
    ),
    anything="some solids",
    details=(
        attribute(
            "places",
            "x1 y1 x2 y2 x3 y3",
            {
                "far apart": (0.10, 0.10, 0.90, 0.90, 0.50, 0.90),
                "close together": (0.80, 0.80, 0.20, 0.20, 0.50, 0.10),
                "drifting left": (0.10, 0.45, 0.05, 0.55, 0.10, 0.50),
                "drifting right": (0.95, 0.55, 0.90, 0.45, 0.90, 0.50),
                "rising": (0.30, 0.05, 0.55, 0.10, 0.40, 0.05),
            },
        ),
        attribute(
            "sizes",
            "size1 size2 size3",
            {
                "drawn large": (0.92, 0.95, 0.90),
                "drawn small": (0.05, 0.08, 0.10),
                "of mixed size": (0.95, 0.05, 0.50),
            },
        ),
        attribute(
            "turns",
            "angle1 angle2 angle3",
            {
                "turned left": (0.10, 0.15, 0.10),
                "turned right": (0.90, 0.85, 0.90),
                "turned apart": (0.10, 0.90, 0.30),
                "standing straight": (0.52, 0.48, 0.53),
            },
        ),
        attribute(
            "ground",
            "ground_hue ground_light ground_fall",
            {f"on {hue} ground": row for hue, row in (
                ("rose", (0.30, 0.60, 0.50)),
                ("sand", (0.60, 0.80, 0.20)),
                ("mint", (0.40, 0.50, 0.80)),
                ("blue", (0.50, 0.30, 0.60)),
                ("violet", (0.60, 0.20, 0.40)),
            )},
            {f"on {hue} ground": {"ground": style} for hue, style in (
                ("rose", "pink"),
                ("sand", "yellow"),
                ("mint", "green"),
                ("blue", "blue"),
                ("violet", "purple"),
            )},
        ),
        PRINT,
    ),
    options={
        "count": ("2", "3"),
        "ground": tuple(HUES),
        **{f"shape{i}": SHAPES for i in (1, 2, 3)},
        **{f"color{i}": tuple(HUES) for i in (1, 2, 3)},
    },
)  # fmt: skip

_TRADES = {
    "a tea company": ("round", "green", "star", "yellow"),
    "a ferry line": ("double", "blue", "ring", "teal"),
    "a book club": ("square", "purple", "diamond", "orange"),
    "a bicycle works": ("hexagonal", "red", "circle", "blue"),
    "a music school": ("round", "teal", "triangle", "pink"),
}

EMBLEM = Grammar(
    openings=(
        "logo of",
        "a photo of",
        "emblem for",
        "sign of",
        "letterhead of",
        "badge of",
        "stamp of",
        "a picture of",
    ),
    subject=attribute(
        "colors",
        "rim_hue rim_light core_hue core_light",
        {
            "a tea company": (0.50, 0.40, 0.60, 0.70),
            "a ferry line": (0.30, 0.60, 0.50, 0.40),
            "a book club": (0.70, 0.30, 0.40, 0.60),
            "a bicycle works": (0.40, 0.80, 0.70, 0.20),
            "a music school": (0.60, 0.50, 0.30, 0.80),
        },
        {
            phrase: dict(zip(("rim", "rim_color", "core", "core_color"), look, strict=True))
            for phrase, look in _TRADES.items()
        },
    ),
    anything="an enterprise",
    details=(
        attribute(
            "mark",
            "rim_size rim_width core_size core_angle",
            {
                "drawn large": (0.95, 0.50, 0.90, 0.55),
                "drawn small": (0.05, 0.30, 0.10, 0.45),
                "with thick rim": (0.55, 0.97, 0.30, 0.60),
                "with tilted core": (0.50, 0.20, 0.80, 0.97),
            },
        ),
        attribute(
            "line",
            "line_y line_width",
            {
                "over a short line": (0.40, 0.05),
                "over a long line": (0.50, 0.95),
                "over a low line": (0.95, 0.50),
            },
        ),
        attribute(
            "paper",
            "ground_hue ground_light",
            {
                "on rose paper": (0.02, 0.40),
                "on sand paper": (0.22, 0.70),
                "on mint paper": (0.42, 0.60),
                "on blue paper": (0.70, 0.30),
                "on violet paper": (0.87, 0.10),
            },
        ),
        attribute(
            "ink",
            "contrast tint",
            {
                "in pale ink": (0.05, 0.50),
                "in strong ink": (0.95, 0.45),
                "in green ink": (0.50, 0.95),
                "in rosy ink": (0.55, 0.05),
            },
        ),
        GLARE,
        PRINT,
    ),
    options={
        "rim": RIMS,
        "rim_color": tuple(HUES),
        "core": SHAPES,
        "core_color": tuple(HUES),
    },
)
