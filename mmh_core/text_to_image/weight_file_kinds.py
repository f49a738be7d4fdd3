"""What a weight file is, by its first bytes or by the names and shapes of its tensors.

A file that cannot be loaded is called what it is, with what can be done with it: most of what
people have beside checkpoints (LoRAs, autoencoders, embeddings) belongs to one.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Shapes = Mapping[str, tuple[int, ...]]

_CHOOSE = "choose a checkpoint of Stable Diffusion 1 or 2"
_FUSE = (
    "load the model it was trained for in diffusers, then pipe.load_lora_weights(FILE), "
    "pipe.fuse_lora(), pipe.unload_lora_weights() and pipe.save_pretrained(FOLDER), and load "
    "FOLDER"
)
_BASE = "name the model that it belongs to, --base MODEL --unet"
_BESIDE = (
    "put it beside a checkpoint without one as NAME.vae.safetensors, or name it by --vae beside "
    "--model"
)


@dataclass(frozen=True)
class FileKind:
    """The kind of a file: a noun for counting, the same with an article, and the next step."""

    noun: str
    what: str
    step: str

    def __str__(self) -> str:
        """Return what it is, in the words of a sentence."""
        return self.what


LORA = FileKind("LoRA", "a LoRA, a change to another model", _FUSE)
LORA_INSIDE = FileKind(
    "network with a LoRA inside",
    "a network with a LoRA inside that was not merged",
    "merge it where it was trained, with fuse_lora() or merge_and_unload(), and save it again",
)
UNET = FileKind("network without the rest", "a denoising network alone", _BASE)
TEXT_ENCODER = FileKind("text encoder", "a text encoder alone", "name the model it belongs to")
AUTOENCODER = FileKind("autoencoder", "an autoencoder (VAE) alone", _BESIDE)
EMBEDDING = FileKind(
    "textual-inversion embedding",
    "a textual-inversion embedding, a word for a text encoder",
    "load it into the model it was trained for and save that, or choose the model",
)
QUANTIZED = FileKind(
    "quantized model",
    "a model with quantized weights",
    "choose the version in half or single precision (fp16 or fp32)",
)


#: The noun of whatever has none of the marks.
UNKNOWN = "file of another kind"


def _other(name: str) -> FileKind:
    return FileKind(f"{name} model", f"{name}, whose network is another one", _CHOOSE)


def _addition(noun: str, what: str) -> FileKind:
    return FileKind(noun, what, "choose the model that it is added to")


# From the most to the least telling; the first that is found names the kind.
_MARKS: tuple[tuple[str, FileKind], ...] = (
    (r"\.base_layer\.", LORA_INSIDE),
    (
        r"^lora_(unet|te)|\blora_[AB]\b|lora_(up|down)\b|\.lora\.(up|down)\.|lora_linear_layer"
        r"|\.hada_w[12]|\.lokr_w[12]|\.dora_scale$|\.(oft|boft)_[a-zA-Z]+",
        LORA,
    ),
    (
        r"\.(absmax|quant_map|quant_state\b.*|SCB|scale_weight|weight_scale|weight_format|qweight"
        r"|qzeros)$",
        QUANTIZED,
    ),
    (
        r"^control_model\.|controlnet_cond_embedding|controlnet_down_blocks|input_hint_block"
        r"|zero_convs\.",
        _addition("ControlNet", "a ControlNet, an addition that steers a model by an image"),
    ),
    (
        r"^(image_proj|ip_adapter)\.|to_k_ip\.",
        _addition("IP-Adapter", "an IP-Adapter, an addition that takes images as prompts"),
    ),
    (
        r"^adapter\.body\.|^body\.\d+\.(in_conv|block1)",
        _addition("T2I-Adapter", "a T2I-Adapter, an addition that steers a model by an image"),
    ),
    (
        r"motion_modules\.",
        _addition("motion module", "a motion module (AnimateDiff), an addition for videos"),
    ),
    (r"time_mixer|time_stack|temporal_transformer|temp_convs", _other("a video model")),
    (r"double_blocks\.|single_transformer_blocks\.", _other("Flux")),
    (r"joint_blocks\.|\.add_q_proj\.|context_embedder\.", _other("Stable Diffusion 3")),
    (r"joint_transformer_blocks\.", _other("AuraFlow")),
    (r"adaln_single\.", _other("PixArt")),
    (r"clip_(txt|text)_.*mapper|channelwise\.", _other("Stable Cascade")),
    (r"encoder_hid_proj\.", _other("Kandinsky or DeepFloyd IF")),
    (r"position_net\.|\.fuser\.", _other("GLIGEN")),
    (
        r"cond_proj\.weight$",
        FileKind("LCM", "a latent consistency model (LCM) with a guidance embedding", _CHOOSE),
    ),
)
_REFINER = _other("the refiner of Stable Diffusion XL")
_XL = _other("Stable Diffusion XL")
_CHANNELS = {
    5: "a model that takes a depth map",
    7: "an upscaler",
    8: "a model that edits images by an instruction (InstructPix2Pix)",
    9: "an inpainting model",
}
_FIRST_LAYER = re.compile(r"(^|\.)(input_blocks\.0\.0|conv_in)\.weight$")
_REFINER_WIDTH = 384


def identify(shapes: Shapes) -> FileKind | None:
    """Return what the tensors show a file to be, None for a checkpoint of version 1 or 2.

    A whole checkpoint in its original form counts as such even where a part of it is missing; a
    network, a text encoder or an autoencoder alone does not.
    """
    names = "\n".join(shapes)
    for pattern, kind in _MARKS:
        if re.search(pattern, names, re.MULTILINE):
            return kind
    width, channels = _first_layer(shapes)
    if channels in _CHANNELS:
        return FileKind(_CHANNELS[channels].split(maxsplit=1)[1], _CHANNELS[channels], _CHOOSE)
    if re.search(r"^conditioner\.|label_emb\.|add_embedding\.", names, re.MULTILINE):
        return _REFINER if width == _REFINER_WIDTH else _XL
    if re.search(r"(^|\.)diffusion_?model", names, re.MULTILINE) and re.search(
        r"^(.*\.)?(first_stage_model|cond_stage_model)\.", names, re.MULTILINE
    ):
        return None
    return _alone(shapes, names)


def _alone(shapes: Shapes, names: str) -> FileKind:
    """Return which part of a model a file holds, or that it is none."""
    if re.search(r"(input_blocks|down_blocks)\W?\d+", names) and _first_layer(shapes)[0]:
        return UNET
    if re.search(r"diffusion_modelinput_blocks|diffusion_model\.", names):
        return UNET
    if re.search(r"(^|\.)(en|de)coder\.(conv_in|mid|down|up)", names, re.MULTILINE):
        return AUTOENCODER
    if re.search(r"^decoder\.layers\.|^taesd|^encoder\.layers\.\d+\.conv", names, re.MULTILINE):
        return FileKind("tiny autoencoder", "a tiny autoencoder (TAESD)", "choose a full one")
    if re.search(r"SelfAttention\.|token_embedding\.|text_model\.|embed_tokens\.", names):
        return TEXT_ENCODER
    if re.search(r"vision_model\.|visual\.|concept_embeds", names):
        return FileKind("image encoder", "an image encoder or safety checker", _CHOOSE)
    sizes = list(shapes.values())
    if "emb_params" in shapes or (
        0 < len(sizes) <= 2 and all(len(size) in (1, 2) and size[-1] >= 32 for size in sizes)
    ):
        return EMBEDDING
    examples = ", ".join(name[:60] for name in list(shapes)[:2]) or "none"
    return FileKind(
        UNKNOWN,
        f"something else than a diffusion model (its tensors: {examples})",
        _CHOOSE,
    )


def _first_layer(shapes: Shapes) -> tuple[int, int]:
    """Return the width and the number of input channels of a UNet's first layer, 0 without."""
    for name, shape in shapes.items():
        other = re.search(r"(en|de)coder\.|first_stage|control", name)
        if _FIRST_LAYER.search(name) and len(shape) == 4 and not other:
            return shape[0], shape[1]
    return 0, 0


# By their first bytes


_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
_OTHER_BYTES: tuple[tuple[bytes, FileKind], ...] = (
    (
        b"GGUF",
        FileKind("GGUF file", "a GGUF file with quantized weights", QUANTIZED.step),
    ),
    (
        b"version https://git-lfs",
        FileKind(
            "Git LFS pointer",
            "the pointer that Git LFS leaves in place of a file",
            "fetch the file itself with `git lfs pull` in its folder, or download it",
        ),
    ),
    (
        b"\x89HDF",
        FileKind("HDF5 file", "an HDF5 file", "choose a safetensors version of the model"),
    ),
    (b"\x1f\x8b", FileKind("gzip archive", "a gzip archive", "unpack it and name what is inside")),
    (b"7z\xbc\xaf", FileKind("7z archive", "a 7z archive", "unpack it and name what is inside")),
    (b"Rar!", FileKind("RAR archive", "a RAR archive", "unpack it and name what is inside")),
    (b"\x89PNG", FileKind("image", "an image", "choose a safetensors file")),
)
_PAGE = FileKind(
    "web page",
    "a web page and no weights: the download was answered by a page, often to sign in",
    "download the file in a browser that is signed in, or with `hf download`",
)
PICKLE = FileKind(
    "pickle",
    "a pickle, which can run code when it is opened",
    "choose a safetensors version of the model",
)
_ZIP = FileKind("zip archive", "a zip archive", "unpack it and name what is inside")


def identify_bytes(path: Path) -> FileKind | None:
    """Return what the first bytes show a file to be, None where it may be safetensors.

    Nothing is unpickled. Errors: OSError.
    """
    with path.open("rb") as file:
        start = file.read(512)
    if start.startswith(b"PK\x03\x04"):
        return _zip_kind(path)
    if start.startswith(_PICKLES) or start[257:262] == b"ustar":
        return PICKLE
    if re.match(rb"\s*<(!doctype|html|\?xml)", start, re.IGNORECASE):
        return _PAGE
    return next((kind for mark, kind in _OTHER_BYTES if start.startswith(mark)), None)


def _zip_kind(path: Path) -> FileKind:
    """Return whether a zip archive is a pickle of torch, by the names inside."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return PICKLE
    pickled = not names or any(name.endswith((".pkl", ".bin", ".pt", ".ckpt")) for name in names)
    return PICKLE if pickled else _ZIP
