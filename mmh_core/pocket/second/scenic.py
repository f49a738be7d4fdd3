"""Grammars of portraits and landscapes."""

from __future__ import annotations

from mmh_core.pocket.landscape import FEATURES, TIMES
from mmh_core.pocket.paint import HUES
from mmh_core.pocket.portrait import CUTS, EXTRAS, HAIR
from mmh_core.pocket.second.attributes import Attribute, Grammar, attribute

#: The prints of every painter: exposure, warmth, vignette.
PRINT = attribute(
    "print",
    "exposure warmth vignette",
    {
        "in warm print": (0.60, 0.92, 0.30),
        "in cold print": (0.60, 0.08, 0.30),
        "in dark print": (0.05, 0.50, 0.60),
        "in faded print": (0.95, 0.62, 0.05),
        "in shaded print": (0.50, 0.40, 0.97),
    },
)

_HAIR = attribute(
    "hair",
    "hair_tone hair_volume",
    {
        "with short black hair": (0.35, 0.25),
        "with long brown hair": (0.60, 0.70),
        "with a red bun": (0.50, 0.40),
        "with short blond hair": (0.70, 0.60),
        "with long silver hair": (0.55, 0.85),
        "with a black bun": (0.75, 0.15),
    },
    {
        "with short black hair": {"hair": "black", "cut": "short"},
        "with long brown hair": {"hair": "brown", "cut": "long"},
        "with a red bun": {"hair": "red", "cut": "bun"},
        "with short blond hair": {"hair": "blond", "cut": "short"},
        "with long silver hair": {"hair": "silver", "cut": "long"},
        "with a black bun": {"hair": "black", "cut": "bun"},
    },
)
_COAT = attribute(
    "coat",
    "coat_tone",
    {
        "in a red coat": (0.30,),
        "in a blue scarf": (0.60,),
        "in a green hat": (0.45,),
        "in teal glasses": (0.75,),
        "in a yellow coat": (0.55,),
        "in a purple scarf": (0.25,),
    },
    {
        "in a red coat": {"coat": "red", "extra": "none"},
        "in a blue scarf": {"coat": "blue", "extra": "scarf"},
        "in a green hat": {"coat": "green", "extra": "hat"},
        "in teal glasses": {"coat": "teal", "extra": "glasses"},
        "in a yellow coat": {"coat": "yellow", "extra": "none"},
        "in a purple scarf": {"coat": "purple", "extra": "scarf"},
    },
)
_PORTRAIT_DETAILS: tuple[Attribute, ...] = (
    _HAIR,
    _COAT,
    attribute(
        "pose",
        "x y size tilt",
        {
            "at the left": (0.08, 0.50, 0.50, 0.55),
            "at the right": (0.92, 0.50, 0.50, 0.45),
            "up close": (0.50, 0.60, 0.97, 0.50),
            "leaning left": (0.45, 0.40, 0.55, 0.08),
            "leaning right": (0.55, 0.40, 0.55, 0.92),
            "far away": (0.50, 0.85, 0.03, 0.52),
        },
    ),
    attribute(
        "mood",
        "smile brow",
        {
            "smiling": (0.95, 0.60),
            "frowning": (0.02, 0.10),
            "looking calm": (0.30, 0.40),
            "looking surprised": (0.55, 0.97),
        },
    ),
    attribute(
        "wall",
        "wall_hue wall_light glow_x",
        {
            "before a rose wall": (0.02, 0.70, 0.20),
            "before a sand wall": (0.20, 0.75, 0.80),
            "before a mint wall": (0.42, 0.60, 0.35),
            "before a blue wall": (0.68, 0.25, 0.65),
            "before a violet wall": (0.85, 0.10, 0.50),
        },
    ),
    PRINT,
)

PORTRAIT = Grammar(
    openings=(
        "portrait of",
        "a photo of",
        "studio picture of",
        "head and shoulders of",
        "a likeness of",
        "snapshot of",
        "album page with",
        "a picture of",
    ),
    subject=attribute(
        "face",
        "skin aspect eye_gap eye_height mouth_width shoulders",
        {
            "a sailor": (0.75, 0.30, 0.20, 0.60, 0.80, 0.90),
            "a baker": (0.15, 0.90, 0.50, 0.40, 0.50, 0.60),
            "a nurse": (0.40, 0.55, 0.80, 0.75, 0.20, 0.30),
            "a student": (0.60, 0.15, 0.60, 0.20, 0.40, 0.10),
            "a dancer": (0.90, 0.45, 0.35, 0.85, 0.65, 0.20),
            "a farmer": (0.30, 0.75, 0.10, 0.15, 0.90, 0.75),
        },
    ),
    anything="a person",
    details=_PORTRAIT_DETAILS,
    options={"hair": tuple(HAIR), "cut": CUTS, "coat": tuple(HUES), "extra": EXTRAS},
)

LANDSCAPE = Grammar(
    openings=(
        "view of",
        "a photo of",
        "landscape with",
        "postcard of",
        "wide view of",
        "a painting of",
        "calendar page with",
        "a picture of",
    ),
    subject=attribute(
        "ridge",
        "peak1_x peak1_y peak2_x peak2_y peak3_y",
        {
            "twin peaks": (0.30, 0.15, 0.60, 0.15, 0.90),
            "a lone summit": (0.60, 0.95, 0.20, 0.03, 0.95),
            "a jagged ridge": (0.85, 0.20, 0.75, 0.60, 0.10),
            "a low range": (0.20, 0.85, 0.40, 0.90, 0.75),
            "a steep pass": (0.10, 0.05, 0.95, 0.30, 0.40),
            "a broad massif": (0.90, 0.50, 0.10, 0.45, 0.50),
        },
    ),
    anything="the mountains",
    details=(
        attribute(
            "ground",
            "hill_left hill_middle hill_right shore",
            {
                "with a lake": (0.40, 0.70, 0.30, 0.25),
                "behind pine trees": (0.60, 0.30, 0.70, 0.50),
                "above a meadow": (0.20, 0.50, 0.60, 0.40),
                "over a valley": (0.10, 0.90, 0.15, 0.70),
                "beyond a bay": (0.85, 0.60, 0.90, 0.05),
            },
            {
                "with a lake": {"feature": "lake"},
                "behind pine trees": {"feature": "pines"},
                "above a meadow": {"feature": "meadow"},
                "over a valley": {"feature": "meadow"},
                "beyond a bay": {"feature": "lake"},
            },
        ),
        attribute(
            "time",
            "sky_hue sky_light",
            {time: row for time, row in zip(
                (f"at {name}" for name in TIMES),
                ((0.40, 0.60), (0.55, 0.40), (0.65, 0.50), (0.30, 0.70)),
                strict=True,
            )},
            {f"at {name}": {"time": name} for name in TIMES},
        ),
        attribute(
            "sun",
            "sun_x sun_y sun_size",
            {
                "under a left sun": (0.10, 0.40, 0.50),
                "under a right sun": (0.90, 0.40, 0.50),
                "under a low sun": (0.60, 0.95, 0.60),
                "under a great sun": (0.40, 0.30, 0.97),
                "under a small sun": (0.50, 0.10, 0.05),
            },
        ),
        attribute(
            "weather",
            "haze snow ground_light",
            {
                "in mist": (0.95, 0.40, 0.55),
                "after snow": (0.30, 0.97, 0.85),
                "in clear air": (0.05, 0.50, 0.50),
                "in drought": (0.45, 0.05, 0.95),
                "after rain": (0.60, 0.30, 0.10),
            },
        ),
        PRINT,
    ),
    options={"time": tuple(TIMES), "feature": FEATURES},
    constant={"frame": "none"},
)  # fmt: skip
