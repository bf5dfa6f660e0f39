"""Models in files: `save` writes one, `load` reads it, and neither knows pickle.

A file holds what predictions need, the parameters, and the records of the fit; not the state of
the optimizer, which checkpoints and pickles are for. What is read is checked as if a user had
assigned it.
"""

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeAlias

from sklearn.utils.validation import check_is_fitted

from skmlp._assembling import NAMES, own
from skmlp._plain_values import CannotBeSaved, Decoder, Encoder
from skmlp._saved_networks import TEXTS, fitted_as_plain, fitted_in
from skmlp._saved_tables import (
    NAMES_OF_TABLES,
    TEXTS_OF_TABLES,
    own_of_tables,
    table_as_plain,
    table_in,
)
from skmlp._sklearn_compat import metadata_requests, set_metadata_requests
from skmlp._tensor_file import (
    MODEL,
    AnyPath,
    FileProblem,
    TensorFile,
    open_tensors,
    strictly_parsed,
    write_tensors,
)

if TYPE_CHECKING:
    from skmlp._classifier import MLPClassifier
    from skmlp._regressor import MLPRegressor
    from skmlp._table_encoder import TableEncoder
    from skmlp._tabular import TabularMLPClassifier, TabularMLPRegressor

    AnyModel: TypeAlias = (
        MLPClassifier | MLPRegressor | TabularMLPClassifier | TabularMLPRegressor | TableEncoder
    )

ALL_NAMES = (*NAMES, *NAMES_OF_TABLES)
# What reading a text that nobody has written for us may end with.
UNSOUND = (ValueError, TypeError, KeyError, OverflowError, RecursionError)


class Saving:
    """Gives an estimator `save`."""

    def save(self, path: AnyPath) -> None:
        """Write the fitted model to a file, from which `skmlp.load` makes an equal one.

        The file is in the safetensors format: arrays, and the parameters as JSON. It holds no code,
        so that whoever loads it need not trust whoever wrote it. The state of the optimizer is not
        in it: a loaded model predicts, and can be trained on with a fresh one. Requests of metadata
        (``set_fit_request``) are, callbacks are not. Of an ensemble all members are in one file;
        which samples they were trained on (`estimators_samples_`) is not. Of an estimator of tables
        there are the encoder, the ensemble and what is known of the fit.

        Parameters
        ----------
        path : str or path-like
            In a folder that exists; usually it ends with ``.safetensors``. A file of that name is
            replaced, once the new one is complete, which gets its permissions.

        Raises
        ------
        NotFittedError
            If there is nothing to save yet.
        ValueError
            If a parameter is invalid, a function, or an object that is not skmlp's; if the
            estimator is of a class of your own; or if fitted attributes contradict each other.
        TypeError
            If `path` is none.
        OSError
            If the file cannot be written.

        Examples
        --------
        >>> import os, tempfile
        >>> import numpy as np
        >>> import skmlp
        >>> X = np.linspace(-1, 1, 40).reshape(20, 2)
        >>> model = skmlp.MLPRegressor(solver="lbfgs", random_state=0).fit(X, X[:, 0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "model.safetensors")
        ...     model.save(path)
        ...     loaded = skmlp.load(path)
        >>> np.array_equal(loaded.predict(X), model.predict(X))
        True
        """
        check_is_fitted(self)
        name = type(self).__name__
        if name not in ALL_NAMES or type(self) is not class_of(name):
            raise CannotBeSaved(
                f"{name} cannot be saved: it is a class of your own, which is code, and a file "
                f"holds none. Use one of {', '.join(ALL_NAMES)}, or pickle."
            )
        encoder = Encoder()
        as_plain = fitted_as_plain if name in NAMES else table_as_plain
        texts = as_plain(self, encoder) | {"requests": metadata_requests(self)}
        metadata = {"skmlp": version_of_skmlp(), "estimator": name}
        metadata |= {of: json.dumps(value, allow_nan=False) for of, value in texts.items()}
        write_tensors(path, MODEL, encoder.tensors, metadata)


def class_of(name: str) -> Any:
    """Return our class of one of `ALL_NAMES`."""
    return own(name) if name in NAMES else own_of_tables(name)


def load(path: AnyPath) -> "AnyModel":
    """Read a model that `save` has written.

    Nothing in the file is executed, whoever wrote it. It is read only if its checksum is right and
    all in it is what a fit can have left.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    model : MLPClassifier, MLPRegressor, TabularMLPClassifier, TabularMLPRegressor or TableEncoder
        It predicts what the saved one did, bit by bit on the same kind of processor.

    Raises
    ------
    ValueError
        If the file is cut off, damaged, written by a later version of skmlp or by others, or holds
        no model. The message says which.
    OSError
        If it cannot be read.

    Examples
    --------
    >>> import os, tempfile
    >>> import skmlp
    >>> model = skmlp.MLPClassifier((5,), solver="lbfgs", random_state=0)
    >>> model = model.fit([[0.0], [1.0], [2.0], [3.0]], ["low", "low", "high", "high"])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "model.safetensors")
    ...     model.save(path)
    ...     loaded = skmlp.load(path)
    >>> loaded
    MLPClassifier(hidden_layer_sizes=(5,), random_state=0, solver='lbfgs')
    >>> loaded.classes_
    array(['high', 'low'], dtype='<U4')
    """
    with open_tensors(path, MODEL) as file:
        try:
            return model_in(file)
        except FileProblem:
            raise
        except UNSOUND as error:
            writer = file.metadata.get("skmlp", "of unknown version")
            raise FileProblem.of(
                path, f"holds no model that skmlp {writer} can have saved: {error!r}."
            ) from error


def version_of_skmlp() -> str:
    # No statement: modules of the package import none of what it shows to users.
    return str(import_module("skmlp").__version__)


def model_in(file: TensorFile) -> "AnyModel":
    """Return the model that a file holds.

    Raises
    ------
    ValueError, TypeError, KeyError, OverflowError, RecursionError
        If there is none.
    """
    decoder, metadata = Decoder(file.read), file.metadata
    name = metadata["estimator"]
    if name not in ALL_NAMES:
        raise ValueError(f"it is said to be of {name!r}, which is none of {', '.join(ALL_NAMES)}")
    texts, made_of = (TEXTS, fitted_in) if name in NAMES else (TEXTS_OF_TABLES, table_in)
    said = {of: strictly_parsed(metadata[of]) for of in texts if of in metadata}
    model = made_of(file, decoder, name, said)
    set_metadata_requests(model, strictly_parsed(metadata["requests"]))
    if unread := file.entries.keys() - decoder.used:
        raise ValueError(f"nothing refers to the arrays {sorted(unread)}")
    return model
