"""The folders that compiled kernels are kept in: where to look, and where to store."""

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numba
from numba.misc.appdirs import AppDirs


def chosen_folder(engine: str) -> Path | None:
    """Return the folder of an engine, "cpu" or "cuda", in that which the user named, if any."""
    chosen = numba.config.CACHE_DIR  # NUMBA_CACHE_DIR, or what Numba's configuration file says
    return Path(chosen) / f"skmlp-{engine}" if chosen else None


def cache_folders(engine: str) -> Iterator[Path]:
    """Yield the folders for an engine's kernels, "cpu" or "cuda", the best one first."""
    chosen = chosen_folder(engine)
    if chosen is not None:
        yield chosen
    # Beside the package: what lies in it would stay when it is uninstalled, and a folder that stays
    # is a package to Python, without content, which hides an editable installation.
    yield Path(__file__).parents[2] / "__pycache__" / "skmlp" / engine
    users = Path(AppDirs("skmlp", appauthor=False).user_cache_dir)
    if users.is_absolute():  # else it would lie in whatever the current folder is: there is no home
        yield users / engine


@cache
def can_be_written(folder: Path) -> bool:
    """Tell whether files can be made in a folder, which is made itself if that is possible."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True


def places_to_look(engine: str) -> Iterator[Path]:
    """Yield every folder up to the first that can be written: that one is stored in.

    So what another user has filled is read where one cannot write, and a folder that one chooses
    and can write has everything one needs.
    """
    for folder in cache_folders(engine):
        yield folder
        if can_be_written(folder):
            return


def place_to_store(engine: str) -> Path | None:
    """Return the first folder that can be written, None if there is none."""
    return next(filter(can_be_written, cache_folders(engine)), None)
