"""Packages that few need: imported by the function that needs one, when it is called."""

import importlib
from typing import Any


def needed(module: str, what: str, *, install: str) -> Any:
    """Import a module of an optional package and return it.

    Parameters
    ----------
    module : str
        As in an import statement.
    what : str
        What of ours needs it, as its user writes it.
    install : str
        What to install, as pip takes it: an extra of ours, or the package itself.

    Raises
    ------
    ImportError
        If it is not installed, with the command that does so; or its own error if it is broken.
    """
    package = module.partition(".")[0]
    try:
        importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise  # it is there, and lacks something itself
        raise ImportError(
            f"{what} needs {package}, which is not installed. Install it: pip install {install!r}",
            name=package,
        ) from error
    return importlib.import_module(module)
