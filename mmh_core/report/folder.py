"""All files of a run, in a zip or in a folder: equal runs give equal bytes."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

from mmh_core.folders import names_in_place, replacing_folder
from mmh_core.formats.export import frame_csv
from mmh_core.records import MMHError
from mmh_core.report.image_files import metadata_of, png_bytes
from mmh_core.report.images import image_report
from mmh_core.report.summary import FORMAT, MITIGATION_FORMAT, run_summary
from mmh_core.studies.images.run import ImageRun

FIGURES, PAGE, TABLE = "run.json", "report.html", "images.csv"
#: The earliest date that a zip can hold.
_DATE = (1980, 1, 1, 0, 0, 0)
_IMAGE = re.compile(r"[0-9]{3}-seed-[0-9]{1,19}\.png")
_LONGEST = 2**28
_FORMATS = (FORMAT, MITIGATION_FORMAT)


def run_files(run: ImageRun, command: str) -> dict[str, bytes]:
    """Return the files of a run by name: images, numbers, the page, and the table.

    Images are `NNN-seed-S.png` and carry their settings; `command` is the command that repeats
    the run.
    """
    files = {
        f"{image.index:03d}-seed-{image.seed}.png": png_bytes(
            image.image, metadata_of(run, image), image.latents
        )
        for image in run.images
    }
    # ASCII escapes keep whatever a caption of somebody's index may hold.
    figures = json.dumps(run_summary(run) | {"command": command}, indent=2, allow_nan=False)
    files[FIGURES] = (figures + "\n").encode()
    files[PAGE] = image_report(run, command).encode()
    files[TABLE] = frame_csv(run.frame())
    return files


def run_zip(run: ImageRun, command: str) -> bytes:
    """Return a zip of `run_files`."""
    return zipped(run_files(run, command))


def zipped(files: Mapping[str, bytes]) -> bytes:
    """Return a zip of files, in their order, with one fixed date and readable by anybody."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in files.items():
            entry = zipfile.ZipInfo(name, _DATE)
            entry.external_attr = 0o644 << 16
            # Images are compressed already.
            packed = not name.endswith(".png")
            entry.compress_type = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
            archive.writestr(entry, data, compresslevel=6 if packed else None)
    return file.getvalue()


def check_folder(folder: Path) -> None:
    """Refuse a folder that a run may not be written to: one that holds anything but a run.

    Raises MMHError.
    """
    names = names_in_place(folder, "the images")
    if names and not (FIGURES in names and all(map(_known, names)) and _is_run(folder / FIGURES)):
        raise MMHError(
            f"{folder} holds other things than an earlier run: name a new folder, so that nothing "
            "of yours is replaced."
        )


def write_folder(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files to a new folder in the place of `folder`, which nothing or a run is in.

    Raises MMHError as `check_folder` does, and where the operating system refuses.
    """
    check_folder(folder)
    with replacing_folder(folder) as new_folder:
        for name, data in files.items():
            (new_folder / name).write_bytes(data)


def _known(name: str) -> bool:
    return name in (FIGURES, PAGE, TABLE) or _IMAGE.fullmatch(name) is not None


def _is_run(path: Path) -> bool:
    """Tell whether a file holds the numbers of a run, of whatever size it may be."""
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST:
            return False
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") in _FORMATS
