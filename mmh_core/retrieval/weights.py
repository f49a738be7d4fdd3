"""Read weights from safetensors files only, decided by content: a pickle can run any code."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mmh_core.records import MMHError

#: What a zip archive starts with; as the length of a header it would be above 67 MB.
_ZIP = b"PK\x03\x04"


def check_safetensors(path: Path, advice: str) -> None:
    """Raise MMHError unless a file starts like safetensors; `advice` says how to get such a file.

    The format starts with the length of its header, 8 bytes of any value, and the header, a JSON
    object. A zip archive is what `torch.save` and TorchScript write, 0x80 starts a bare pickle.
    """
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError as error:
        raise MMHError(f"{path} cannot be read ({error.strerror}): {advice}") from error
    if start[8:] == b"{" and start[:4] != _ZIP:
        return
    if start[:4] == _ZIP or start[:1] == b"\x80":
        raise MMHError(
            f"{path} is a pickle or TorchScript archive, which may run code of its own when "
            f"opened: {advice}"
        )
    raise MMHError(f"{path} is not a safetensors file: {advice}")


def read_weights(path: Path, advice: str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file; raises MMHError for any other or a damaged one."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    check_safetensors(path, advice)
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise MMHError(f"{path} is damaged ({error}): {advice}") from error
