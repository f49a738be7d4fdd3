"""Memorization in diffusion models, seen through local intrinsic dimension (LID).

The manifold memorization hypothesis (Ross et al. 2025, arXiv 2411.00113): a sample is memorized
when the model's LID there is too small. These functions are the Python API; each runs a study of
`mmh_core.studies` to its end and returns a `Result`: `record` holds what was measured, `frame()`
is its table, and a notebook shows it as HTML. `progress(fraction, message)` is called as the work
goes on, fractions from 0 to 1. Errors that a user can mend are `MMHError`, one sentence each.

Importing this package loads nothing heavy; what a function needs is imported when it is called.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from mmh_core.records import MMHError, Progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mmh_core.diffusion.score_model import ScoreModel
    from mmh_core.records import LidEstimate
    from mmh_core.report.notebook import Framed, Result
    from mmh_core.retrieval.folder import FolderIndex
    from mmh_core.studies.detection.scores import DetectorScores
    from mmh_core.studies.images.run import ImageResult, ImageRun
    from mmh_core.studies.manifolds.run import ManifoldConfig, ManifoldRun
    from mmh_core.studies.mitigation.run import MitigationRun, Treatment
    from mmh_core.studies.review.scan import ScanState
    from mmh_core.subject.subject import IndexedFolder, Subject
    from mmh_core.text_to_image.requests import Request, Sampling

__all__ = [
    "IndexedFolder",
    "MMHError",
    "ManifoldConfig",
    "Request",
    "Result",
    "Sampling",
    "Subject",
    "Treatment",
    "audit",
    "calibrate",
    "detect",
    "generate",
    "index_folder",
    "lid",
    "load",
    "mitigate",
    "open_subject",
    "save",
    "scan",
    "train_manifold",
    "write_report",
]
#: Where the records of the API live; imported when they are first named.
_RECORDS = {
    "IndexedFolder": "mmh_core.subject.subject",
    "ManifoldConfig": "mmh_core.studies.manifolds.run",
    "Request": "mmh_core.text_to_image.requests",
    "Result": "mmh_core.report.notebook",
    "Sampling": "mmh_core.text_to_image.requests",
    "Subject": "mmh_core.subject.subject",
    "Treatment": "mmh_core.studies.mitigation.run",
}
_Partial = TypeVar("_Partial")
_OnProgress = Callable[[float, str], object]

# Hidden from type checkers, which would take any misspelled name for one of these.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Return a record class of the API, imported now. Errors: AttributeError."""
        from importlib import import_module

        if name in _RECORDS:
            return getattr(import_module(_RECORDS[name]), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the names of the API."""
    return sorted({*globals(), *__all__})


def open_subject(
    name: str = "pocket-sd",
    device: str | torch.device = "auto",
    *,
    index: IndexedFolder | None = None,
    calibration: str | Path | None = None,
    windows: int = 1,
) -> Subject:
    """Return a model with its training set and its calibration, opened from this disk.

    `name` is one of the catalogue ("pocket-sd" is the shipped model), a folder in diffusers'
    form, a single safetensors file, "MODEL::unet=FOLDER" or "hub:owner/name". `index` names
    training images of one's own, else those beside the model are searched, if any; `calibration`
    a file that `calibrate` wrote. `device` is cpu, cuda or auto; `windows` in how many context
    windows the text encoder reads a prompt. Errors: MMHError for what cannot be opened.

    >>> import mmh_core as mmh
    >>> subject = mmh.open_subject("pocket-sd", "cpu")
    >>> subject.sampling.words
    '30 steps, guidance 2, ddim, 64 x 64'
    """
    from mmh_core.subject import subject

    file = None if calibration is None else Path(calibration)
    return subject.open_subject(name, device, index=index, calibration=file, windows=windows)


def generate(
    subject: Subject,
    prompts: str | Sequence[str],
    seeds: Sequence[int] = (0, 1, 2, 3),
    *,
    sampling: Sampling | None = None,
    curve: bool = True,
    progress: _OnProgress | None = None,
) -> Result[ImageRun]:
    """Generate one image for each prompt and seed, and say of each whether it is memorized.

    LID is the soft spectral count of the denoiser's Jacobian at the final latents, given the
    prompt, at one calibrated noise scale delta = sigma / alpha (in units of the latents' spread);
    every training image is searched for copies. `sampling` is the subject's own unless given;
    `curve` asks for LID over the noise scales as well. `frame()`: one row per image. The images
    are `record.images[i].image`, uint8 (3, H, W). Errors: MMHError for what cannot be generated.

    >>> prompt = "Mira Verhage in a green coat, head and shoulders, warm light"
    >>> found = mmh.generate(subject, prompt, seeds=(0, 1), curve=False)
    >>> found.frame()[["seed", "verdict"]].values.tolist()
    [[0, 'exact copy'], [1, 'exact copy']]
    """
    from mmh_core.report.notebook import Result
    from mmh_core.studies.detection.prompt_scan import scanned
    from mmh_core.studies.images.run import ImageConfig
    from mmh_core.studies.images.study import image_study

    used_sampling = sampling or subject.sampling
    config = ImageConfig(
        _name(subject), _texts(prompts), tuple(seeds), used_sampling, curve=curve, frames=0
    )
    study = image_study(config, subject)
    return Result(_last(scanned(study, subject.model, subject.calibration.early), progress))


def write_report(
    result: Result[ImageRun] | Result[MitigationRun],
    folder: str | Path,
    *,
    index: IndexedFolder | None = None,
) -> Path:
    """Write the images of a run, its numbers as JSON and CSV, and report.html; return that page.

    The page is one file that opens offline. `index` names the training images that were searched,
    where they were one's own, for the command that the report repeats. An earlier run in the
    folder is replaced. Errors: MMHError for a folder that holds anything else.

    >>> mmh.write_report(found, "mira").name
    'report.html'
    """
    from mmh_core.report.command import image_command, run_command
    from mmh_core.report.folder import PAGE, run_files, write_folder
    from mmh_core.report.mitigations import mitigation_files
    from mmh_core.studies.images.run import ImageRun

    run, more = result.record, () if index is None else index.arguments()
    if isinstance(run, ImageRun):
        files = run_files(run, image_command(run.config, more))
    else:
        files = mitigation_files(run, run_command(run, more))
    write_folder(Path(folder), files)
    return Path(folder) / PAGE


def audit(
    subject: Subject,
    image: bytes | str | Path,
    caption: str | None = None,
    *,
    progress: _OnProgress | None = None,
) -> Result[ImageResult]:
    """Compare an image from anywhere with the training set, and estimate the model's LID there.

    `image` is a file's path or bytes; it is cut to the model's shape, resized and encoded. LID is
    given the `caption`, without a prompt where it is empty. An image that this program generated
    carries its prompt and sampling, and is judged by them unless a caption is given. `frame()`:
    one row, the columns of `generate`. Errors: MMHError for what is no image, and for one whose
    settings are damaged where no caption is given.

    >>> copy = mmh.audit(subject, "mira/000-seed-0.png")
    >>> copy.record.copy.kind
    'exact'
    """
    from mmh_core.report.image_files import audit_basis, read_image_metadata
    from mmh_core.report.notebook import Result
    from mmh_core.retrieval.images import MAX_BYTES, read_image
    from mmh_core.studies.images.audit import audit_study

    data = image
    if not isinstance(data, bytes):
        read_image(Path(data))  # It says what is wrong with a file by its name.
        with Path(data).open("rb") as file:
            data = file.read(MAX_BYTES)
    about = read_image_metadata(data) if caption is None else None
    basis = audit_basis(about, caption, subject.model)
    return Result(_last(audit_study(data, basis.caption, subject, basis.sampling), progress))


def index_folder(
    folder: str | Path,
    out: str | Path,
    *,
    embedder: str = "pixels",
    captions: str | Path | None = None,
    progress: _OnProgress | None = None,
) -> Result[FolderIndex]:
    """Build a search index of a folder of training images, and write it to the folder `out`.

    What is an image is decided by content; every other file is counted and named with its reason.
    `captions` is a table with the columns file_name and text; without one, those beside the images
    count. `frame()`: one row per file. Errors: MMHError for a folder without images.

    >>> found = mmh.index_folder("mira", "index")
    >>> found.frame().indexed.sum()
    np.int64(2)
    >>> from pathlib import Path
    >>> own = mmh.IndexedFolder(Path("index"), Path("mira"))
    >>> searched = mmh.open_subject("pocket-sd", "cpu", index=own)
    """
    from mmh_core.report.notebook import Result
    from mmh_core.retrieval import folder as folders
    from mmh_core.retrieval.captions import read_captions
    from mmh_core.retrieval.embedder_choice import load_embedder
    from mmh_core.retrieval.index_files import check_place, save_index

    check_place(Path(out))
    table = None if captions is None else read_captions(Path(captions))
    steps = folders.index_folder(Path(folder), load_embedder(embedder), captions=table)
    indexed = _last(steps, progress)
    if indexed.index is None:
        raise ValueError(f"{folder} gave no index.")
    save_index(indexed.index, Path(out), files=indexed.files, left_out=indexed.left_out)
    return Result(indexed)


def lid(
    model: ScoreModel,
    points: Tensor,
    log_delta: float,
    *,
    cond: Tensor | None = None,
    estimator: str = "flipd",
    generator: torch.Generator | None = None,
) -> Result[LidEstimate]:
    """Estimate the LID of any score model at points (B, *shape), at one noise scale.

    FLIPD (Kamkari et al. 2024, Eq. 7): `D + sigma^2 (tr grad s + |s|^2)`, in dimensions, the trace
    by Hutchinson's estimator; other names are those of `dimension.estimators.ESTIMATORS`.
    `log_delta` is the natural logarithm of sigma / alpha in units of the data. `cond` goes to the
    network as it is; `subject.score_model(request)` gives the model that a request samples from.
    `generator` draws the probes, seed 0 unless given. `frame()`: one row per point, with the
    standard error of the probes. Errors: ValueError for an unknown estimator, and for more
    dimensions than it can handle.

    >>> import torch
    >>> from mmh_core.diffusion.analytic import gaussian_on_subspace
    >>> from mmh_core.diffusion.schedule import RectifiedFlow
    >>> mean, frame, variances = torch.zeros(3), torch.eye(3, 2), torch.ones(2)
    >>> plane = gaussian_on_subspace(mean, frame, variances, RectifiedFlow())
    >>> mmh.lid(plane, mean[None], -3.0, estimator="flipd_exact").frame().lid.round(1)[0]
    np.float32(2.0)
    """
    import torch

    from mmh_core.dimension.estimators import ESTIMATORS
    from mmh_core.report.notebook import Result

    if estimator not in ESTIMATORS:
        raise ValueError(f"Unknown estimator {estimator!r}; choose from {', '.join(ESTIMATORS)}.")
    draws = torch.Generator().manual_seed(0) if generator is None else generator
    run = ESTIMATORS[estimator].run
    return Result(run(model, points, log_delta, cond=cond, generator=draws))


def detect(
    subject: Subject,
    prompts: str | Sequence[str],
    *,
    fpr: float = 0.01,
    progress: _OnProgress | None = None,
) -> Result[DetectorScores]:
    """Score prompts by every calibrated detector; higher is more memorized.

    At most the share `fpr` (0 to 1) of the reference prompts exceeds a threshold. `frame()`: one
    row per prompt and detector, `percentile` from 0 to 1 among the reference prompts. Errors:
    MMHError for a subject whose detectors are not calibrated.

    >>> scores = mmh.detect(subject, prompt).frame()
    >>> scores.set_index("detector").flagged["early_scan"]
    np.True_
    """
    from mmh_core.report.notebook import Result
    from mmh_core.studies.detection.scores import score_by_all

    calibration = subject.calibration.detectors
    if calibration is None:
        raise MMHError(
            f"{_name(subject)} has no calibration of its detectors: make one with "
            "calibrate(subject, prompts, folder, every=True), and score with what it returns."
        )
    scores = _last(score_by_all(subject.model, calibration, _texts(prompts), fpr=fpr), progress)
    return Result(scores)


def scan(
    subject: Subject,
    table: str | Path,
    out: str | Path,
    *,
    fpr: float = 0.01,
    column: str = "",
    progress: _OnProgress | None = None,
) -> Result[ScanState]:
    """Score a table of up to a million prompts by the early scan, and study those it flags.

    Wen et al. 2024 (arXiv 2407.21720) score a prompt by its guidance norm; the early scan needs no
    image. Results are Parquet files in the folder `out`, where a stopped scan resumes. `fpr` is
    the false-positive rate on reference prompts; `column` names that of the prompts where the
    table leaves it open. `frame()`: one row per prompt. Errors: MMHError for a table that cannot
    be used, and for a subject whose early scan is not calibrated.

    >>> from pathlib import Path
    >>> _ = Path("prompts.txt").write_text(f"{prompt}\\na red boat at sea\\n")
    >>> mmh.scan(subject, "prompts.txt", "scanned").frame().set_index("prompt").flagged[prompt]
    np.True_
    """
    from mmh_core.report.notebook import Result
    from mmh_core.studies.review.scan import ScanConfig
    from mmh_core.studies.review.scan import scan as scan_study

    if not 0 <= fpr < 1:
        raise MMHError(f"fpr is {fpr}: it must be from 0 to below 1.")
    config = ScanConfig(_name(subject), fpr)
    steps = scan_study(Path(table), Path(out), subject, config, column=column)
    return Result(_last(steps, progress))


def calibrate(
    subject: Subject,
    table: str | Path,
    out: str | Path,
    *,
    every: bool = False,
    column: str = "",
    progress: _OnProgress | None = None,
) -> Subject:
    """Return the subject with detectors calibrated on reference prompts, kept in the file `out`.

    The `table` holds 20 or more prompts that the model has not memorized; a column label may call
    others memorized. The early scan is calibrated, which needs no image; `every` detector where
    asked. Other parts that the file holds stay, and what only the maker of a model knows is the
    subject's own: as `open_subject(..., calibration=out)` opens it again. Errors: MMHError for a
    table that cannot be used, and for a file with the calibration of another model or sampling.

    >>> prompts = [f"a red boat at sea, number {i}" for i in range(20)]
    >>> _ = Path("reference.txt").write_text("\\n".join(prompts))
    >>> own = mmh.calibrate(subject, "reference.txt", "own.safetensors")
    >>> len(own.calibration.early.prompts)
    20
    """
    from dataclasses import replace

    from mmh_core.studies.detection.calibrate import calibrate_detectors
    from mmh_core.studies.detection.labelled_prompts import read_calibrating
    from mmh_core.subject.calibration import empty_calibration, update_calibration
    from mmh_core.subject.early_calibration import calibrate_early

    prompts = read_calibrating(Path(table), column=column)
    early = _last(calibrate_early(subject.model, prompts), progress)
    parts = replace(empty_calibration(subject.model), early=early)
    if every:
        steps = calibrate_detectors(prompts, subject, early=early)
        parts = replace(parts, detectors=_last(steps, progress))
    calibration = update_calibration(Path(out), parts)
    return replace(subject, calibration=calibration.completed(subject.calibration))


def mitigate(
    subject: Subject,
    prompts: str | Sequence[str],
    mitigations: str | Sequence[Treatment] = "sparse_repellency,padding_fix",
    seeds: Sequence[int] = (0, 1, 2, 3),
    *,
    sampling: Sampling | None = None,
    progress: _OnProgress | None = None,
) -> Result[MitigationRun]:
    """Generate a prompt with and without mitigations, from the same starting noise.

    The first of `prompts` is the one in question, the others are reference prompts, which must not
    move. `mitigations` is a text such as "sparse_repellency:1,padding_fix" (name:strength), to
    which no mitigation and random token insertion are added as baselines, or each a `Treatment`.
    `frame()`: one row per image. Errors: MMHError for a name or strength that is none.

    >>> found = mmh.mitigate(subject, prompt, "sparse_repellency", seeds=(0,))
    >>> found.frame().mitigation.tolist()
    ['none', 'random_tokens', 'sparse_repellency']
    """
    from mmh_core.report.notebook import Result
    from mmh_core.studies.mitigation.run import MitigationConfig
    from mmh_core.studies.mitigation.study import mitigation_study, treatments_of

    selection = mitigations
    chosen = treatments_of(selection) if isinstance(selection, str) else tuple(selection)
    used_sampling = sampling or subject.sampling
    config = MitigationConfig(_name(subject), _texts(prompts), tuple(seeds), chosen, used_sampling)
    return Result(_last(mitigation_study(config, subject), progress))


def train_manifold(
    manifold: str | ManifoldConfig = "circle",
    *,
    points: int | None = None,
    epochs: int | None = None,
    seed: int = 0,
    progress: _OnProgress | None = None,
) -> Result[ManifoldRun]:
    """Train a small diffusion model on a manifold of known LID, and estimate what it learned.

    `manifold` is a name of `manifolds.catalogue.MANIFOLDS`, trained as it shows best with
    `points` distinct training points for `epochs` passes over them; a `ManifoldConfig` says
    everything. Model LID is compared with data LID by the hypothesis (Ross et al. 2025,
    Section 3) in a band of noise scales in which the model fits. `frame()`: one row per snapshot
    of the training; the last is `record.snapshots[-1]`. Errors: ValueError for values out of
    range.

    >>> circle = mmh.train_manifold("circle", points=20, epochs=30)
    >>> circle.record.snapshots[-1].trained.lid.shape
    torch.Size([20])
    """
    from dataclasses import replace

    from mmh_core.report.notebook import Result
    from mmh_core.studies.manifolds.config import default_config
    from mmh_core.studies.manifolds.study import manifold_study

    config = manifold
    if isinstance(config, str):
        config = default_config(config, points=points, seed=seed)
        config = config if epochs is None else replace(config, epochs=epochs)
    return Result(_last(manifold_study(config), progress))


def save(result: Result[Framed], file: str | Path) -> None:
    """Write a result to one safetensors file, whole or not at all; the app opens it too.

    Errors: MMHError where the disk refuses.

    >>> mmh.save(circle, "circle.safetensors")
    """
    from mmh_core.store.archive import save_record

    save_record(Path(file), result.record)


def load(file: str | Path) -> Result[ImageRun | MitigationRun | ManifoldRun]:
    """Read a run of images, of mitigations or of a manifold that `save` or a page wrote.

    Nothing is unpickled. Errors: MMHError for a file that is missing, damaged or of another kind.

    >>> mmh.load("circle.safetensors").record.config == circle.record.config
    True
    """
    from mmh_core.report.notebook import Result
    from mmh_core.store.archive import load_record
    from mmh_core.studies.images.run import ImageRun
    from mmh_core.studies.manifolds.run import ManifoldRun
    from mmh_core.studies.mitigation.run import MitigationRun

    path = Path(file)
    readers: tuple[Callable[[], ImageRun | MitigationRun | ManifoldRun], ...] = (
        lambda: load_record(path, ImageRun),
        lambda: load_record(path, MitigationRun),
        lambda: load_record(path, ManifoldRun),
    )
    errors = []
    for read in readers:
        try:
            return Result(read())
        except MMHError as error:
            errors.append(error)
    if len({str(error) for error in errors}) == 1:
        raise errors[0]  # Missing or damaged, whatever it should be.
    raise MMHError(
        f"The file {path.name!r} holds no run of images, of mitigations or of a manifold: name "
        "one that save() or a page wrote."
    )


def _last(steps: Iterator[Progress[_Partial | None]], progress: _OnProgress | None) -> _Partial:
    """Run a study to its end and return its last record."""
    last: Progress[_Partial | None] | None = None
    for last in steps:
        if progress is not None:
            progress(last.fraction, last.message)
    if last is None or last.partial is None:
        raise ValueError("The study gave no result.")
    return last.partial


def _texts(prompts: str | Sequence[str]) -> tuple[str, ...]:
    return (prompts,) if isinstance(prompts, str) else tuple(prompts)


def _name(subject: Subject) -> str:
    return subject.name or subject.model.name
