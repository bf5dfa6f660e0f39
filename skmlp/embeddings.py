"""Embeddings of features, for `embedding`: what a column of X becomes before the first layer.

A network of few layers learns functions that jump or wave in one feature only slowly. It learns
them fast of several numbers that are made of the feature, by formulas whose numbers are learned
beside the weights. One object, or name, is for all features; a sequence has one for each, with
None for those that stay what they are.
"""

from typing import Any

from skmlp._choices import Choice, EachOf, OneOf
from skmlp._formulas import FormulaChoice, formula_of, ranges
from skmlp.network.embeddings import EMBEDDINGS, embedding_entry
from skmlp.network.specs import Formula

__all__ = ["PBLD", "Categories", "Cosine", "Periodic", "PiecewiseLinear"]

AS_IT_IS = Formula("identity")


class EmbeddingChoice(FormulaChoice):
    """Base of the objects for `embedding`."""


class PiecewiseLinear(EmbeddingChoice):
    """Sums of pieces of lines between quantiles of a feature, as ``embedding="piecewise"``.

    ``w x + b + V z``, where `z` has a number for each of `bins` bins between the feature's
    quantiles in the training samples: one for those below x, zero for those above, and for its own
    a fraction. In the first bin it may be below zero, in the last one above one: these are as wide
    as bins are in the mean, at least. `V` starts at zero. A feature of few values has a bin between
    any two of them. A value that many samples have begins a bin of its own, and the quantiles are
    those of the other samples. The bins stay what they are when a fit goes on.

    Parameters
    ----------
    bins : int, default=48
        How many bins there are at most.
    width : int, default=16
        How many numbers become of a feature.

    References
    ----------
    Gorishniy, Rubachev & Babenko (2022), "On embeddings for numerical features in tabular deep
    learning", NeurIPS, arXiv:2203.05556.
    Gorishniy, Kotelnikov & Babenko (2024), "TabM: advancing tabular deep learning with
    parameter-efficient ensembling", arXiv:2410.24210 (its version B).

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.embeddings import PiecewiseLinear
    >>> MLPRegressor(embedding=PiecewiseLinear(bins=16))
    MLPRegressor(embedding=PiecewiseLinear(bins=16))
    """

    _name = "piecewise"
    _parameter_constraints = ranges(EMBEDDINGS[_name].constants)

    def __init__(self, bins: int = 48, width: int = 16) -> None:
        self.bins = bins
        self.width = width


class PBLD(EmbeddingChoice):
    """Periodic functions, made fewer, beside the feature itself, as ``embedding="pbld"``.

    ``[x, V cos(2 pi (w x + b)) + c]``: periodic, with bias, linear and dense. It becomes
    ``width + 1`` numbers of a feature, which should be scaled to about one.

    Parameters
    ----------
    units : int, default=16
        Number of waves.
    width : int, default=3
        How many numbers become of them.
    sigma : float, default=0.1
        Standard deviation of the frequencies that it begins with. The most important one to tune.

    References
    ----------
    Holzmueller, Grinsztajn & Steinwart (2024), "Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data", NeurIPS, arXiv:2407.04491.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.embeddings import PBLD
    >>> model = MLPClassifier(embedding=PBLD(sigma=0.3)).set_params(embedding__units=8)
    >>> model
    MLPClassifier(embedding=PBLD(units=8, sigma=0.3))
    """

    _name = "pbld"
    _parameter_constraints = ranges(EMBEDDINGS[_name].constants)

    def __init__(self, units: int = 16, width: int = 3, sigma: float = 0.1) -> None:
        self.units = units
        self.width = width
        self.sigma = sigma


class Cosine(EmbeddingChoice):
    """Cosines beside the feature itself, as ``embedding="cosine"``.

    ``[x, a cos(2 pi (w x + b)) + c]``, `width` waves with `a` and `c` that start at zero: a fit
    begins with what it would have without. It becomes ``width + 1`` numbers of a feature, which
    should be scaled to about one.

    Parameters
    ----------
    width : int, default=16
        Number of waves.
    sigma : float, default=1.0
        Standard deviation of the frequencies that it begins with.

    References
    ----------
    TabPack (2026), ICML, arXiv:2607.05380.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.embeddings import Cosine
    >>> MLPRegressor(embedding=Cosine(8))
    MLPRegressor(embedding=Cosine(width=8))
    """

    _name = "cosine"
    _parameter_constraints = ranges(EMBEDDINGS[_name].constants)

    def __init__(self, width: int = 16, sigma: float = 1.0) -> None:
        self.width = width
        self.sigma = sigma


class Periodic(EmbeddingChoice):
    """Sines and cosines, a layer and rectifiers for each feature, as ``embedding="periodic"``.

    ``relu(V [sin(2 pi w x), cos(2 pi w x)] + c)``, known as PLR. It becomes `width` numbers of
    a feature, which should be scaled to about one.

    Parameters
    ----------
    units : int, default=48
        Number of frequencies.
    width : int, default=24
        How many numbers become of a feature.
    sigma : float, default=0.01
        Standard deviation of the frequencies that it begins with. The most important one to tune.

    References
    ----------
    Gorishniy, Rubachev & Babenko (2022), "On embeddings for numerical features in tabular deep
    learning", NeurIPS, arXiv:2203.05556, section 3.3.

    Examples
    --------
    >>> from skmlp import MLPRegressor
    >>> from skmlp.embeddings import Periodic
    >>> MLPRegressor(embedding=Periodic(sigma=0.05))
    MLPRegressor(embedding=Periodic(sigma=0.05))
    """

    _name = "periodic"
    _parameter_constraints = ranges(EMBEDDINGS[_name].constants)

    def __init__(self, units: int = 48, width: int = 24, sigma: float = 0.01) -> None:
        self.units = units
        self.width = width
        self.sigma = sigma


class Categories(EmbeddingChoice):
    """A row of a learned table for each category of a feature.

    The feature must hold codes, whole numbers from 0 to ``levels - 1``, of which 0 stands for
    unknown. A fit refuses others; predictions take them for unknown ones.

    Parameters
    ----------
    levels : int, default=2
        How many categories there are, the unknown ones counted as one.
    width : int, default=8
        How many numbers become of a category.

    References
    ----------
    Guo & Berkhahn (2016), "Entity embeddings of categorical variables", arXiv:1604.06737.

    Examples
    --------
    >>> from skmlp import MLPClassifier
    >>> from skmlp.embeddings import Categories
    >>> MLPClassifier(embedding=["pbld", None, Categories(30)])
    MLPClassifier(embedding=['pbld', None, Categories(levels=30)])
    """

    _name = "categories"
    _parameter_constraints = ranges(EMBEDDINGS[_name].constants)

    def __init__(self, levels: int = 2, width: int = 8) -> None:
        self.levels = levels
        self.width = width


# All objects that `embedding` takes.
CLASSES: tuple[type[Choice], ...] = (PBLD, Categories, Cosine, Periodic, PiecewiseLinear)
# And names, of those that need no values.
NAMES = ("cosine", "pbld", "periodic", "piecewise")


class EmbeddingOptions(OneOf):
    """Constraint of the parameter `embedding`."""

    def __init__(self) -> None:
        super().__init__(NAMES, CLASSES)
        self._of_features = EachOf(OneOf(NAMES, CLASSES), or_none=True, per_layer=False)

    def is_satisfied_by(self, val: Any) -> bool:
        """Whether it is a name, an object, or a sequence of these and None."""
        return self._of_features.is_satisfied_by(val) or super().is_satisfied_by(val)

    def __str__(self) -> str:
        return f"{super().__str__()}, or a tuple of such values and None, one for each feature"


def embedding_formula(choice: Any) -> Formula:
    """Return the entry that a name, an object or None stands for."""
    if choice is None:
        return AS_IT_IS
    name = choice if isinstance(choice, str) else choice._name
    return formula_of(choice, embedding_entry(name).constants)
