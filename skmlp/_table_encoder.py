"""The transformer that makes a matrix of numbers of a table."""

from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skmlp._saving import Saving
from skmlp._sklearn_compat import (
    Interval,
    Options,
    StrOptions,
    _check_feature_names_in,
    _fit_context,
)
from skmlp._table_categories import Codes
from skmlp._table_encoding import Blocks, encode, fitted_encoding
from skmlp._table_learning import learn, which_are_categories
from skmlp._table_numbers import SCALINGS
from skmlp._table_reading import Table, read_table


class TableEncoder(Saving, TransformerMixin, BaseEstimator):
    """Turns a table as it comes into a matrix of numbers for a network.

    Numbers are scaled, missing ones filled in; categories of few levels become flags, those of
    many levels whole numbers, for which a network can learn vectors.

    Parameters
    ----------
    categorical_features : "from_dtype", array-like of bool, int or str, or None, \
default="from_dtype"
        Which columns are categories, as in
        `sklearn.ensemble.HistGradientBoostingClassifier`: a mask, column numbers, names of a data
        frame's columns, or None for none. "from_dtype" goes by the types of columns: categories
        are those of pandas' or polars' types for categories, of text, and of truth values. A
        column of Python objects is one if it holds text, or nothing but truth values.
    scaling : {"robust", "quantile", "standard"} or None, default="robust"
        What becomes of numbers:

        - "robust", as in RealMLP: the median is taken away, they are divided by the distance of
          the quartiles, or by half of the range where this is zero, and large ones are brought to
          between -3 and 3 by ``x / sqrt(1 + (x / 3)^2)``. Flags are treated in the same way, so
          that for one of them the more frequent number becomes zero;
        - "quantile", as in TabM: to a normal distribution, by up to 1000 quantiles, one for 30
          rows, at least 10. They are learned with a little noise, from no more than 100,000 rows,
          which are drawn;
        - "standard": to mean zero and variance one.
    max_one_hot : int, default=9
        Up to so many levels, counting the one of what is missing or unknown, a category becomes
        flags: one column for each level, all of which are zero where it is missing or unknown; or
        a single column of -1 and +1, then also 0, if there are two levels.
    many_levels : {"code", "one-hot"}, default="code"
        What a category of more levels becomes: a column of whole numbers, where 0 is missing or
        unknown, or flags too.
    min_frequency : int or float, default=2
        In a category of more than `max_one_hot` levels, those in fewer rows, or a smaller part of
        the rows, are treated as unknown. What has been seen once tells as little as what has
        not been seen, and so something is learned for unknown levels.
    dtype : {"float32", "float64"} or such a type of NumPy's, default="float32"
        The type of the matrix. All is computed in float64.
    random_state : int, RandomState instance or None, default=None
        Draws noise and rows for ``scaling="quantile"``. Pass an int for reproducible results.

    Attributes
    ----------
    blocks_ : Blocks
        The columns of the matrix, in their order: number of scaled numbers, number of flags, and
        for each column of codes how many whole numbers may be there, including zero. A named tuple
        ``(numbers, flags, levels)``.
    dropped_ : dict
        Names of columns that are not used, with the reason: "constant" in the rows of the fit, or
        the same there as another column.
    is_categorical_ : ndarray of bool of shape (`n_features_in_`,)
        Which columns are categories.
    n_features_in_ : int
        Number of columns seen during `fit`.
    feature_names_in_ : ndarray of shape (`n_features_in_`,)
        Their names, if they have any.

    See Also
    --------
    MLPClassifier, MLPRegressor

    Notes
    -----
    Missing are NaN, None, and what pandas and polars have for it. A missing number is replaced by
    the mean of those that were there in the fit; an indicator, a flag, is added for each column
    in which some were missing then. Columns that miss the same rows share one.

    Scales are learned from what is not missing. Numbers are read as float64, from an array or a
    data frame alike. Levels are compared as Python compares them: 1, 1.0 and True are the same,
    "1" is another one.

    Infinite numbers, dates, complex numbers and nested values are refused, with the column's name.

    References
    ----------
    D. Holzmüller, L. Grinsztajn, I. Steinwart. Better by default: strong pre-tuned MLPs and
    boosted trees on tabular data. NeurIPS 2024. (RealMLP)

    Y. Gorishniy, A. Kotelnikov, A. Babenko. TabM: advancing tabular deep learning with
    parameter-efficient ensembling. ICLR 2025.

    Examples
    --------
    >>> import numpy as np
    >>> from skmlp import TableEncoder
    >>> X = [[1.0, "red"], [2.0, "blue"], [np.nan, "green"], [5.0, "red"]]
    >>> encoder = TableEncoder(scaling="standard").fit(X)
    >>> encoder.get_feature_names_out()
    array(['x0', 'x1_blue', 'x1_green', 'x1_red', 'missingindicator_x0'],
          dtype=object)
    >>> encoder.transform([[8 / 3, "red"], [np.nan, "black"]])
    array([[0., 0., 0., 1., 0.],
           [0., 0., 0., 0., 1.]], dtype=float32)
    >>> encoder.blocks_
    Blocks(numbers=1, flags=4, levels=())
    """

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "categorical_features": ["array-like", StrOptions({"from_dtype"}), None],
        "scaling": [StrOptions(set(SCALINGS)), None],
        "max_one_hot": [Interval(Integral, 0, None, closed="left")],
        "many_levels": [StrOptions({"code", "one-hot"})],
        "min_frequency": [
            Interval(Integral, 1, None, closed="left"),
            Interval(Real, 0, 1, closed="neither"),
        ],
        "dtype": [StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64})],
        "random_state": ["random_state"],
    }

    blocks_: Blocks
    dropped_: dict[str, str]
    is_categorical_: npt.NDArray[np.bool_]
    n_features_in_: int

    def __init__(
        self,
        *,
        categorical_features: Any = "from_dtype",
        scaling: str | None = "robust",
        max_one_hot: int = 9,
        many_levels: str = "code",
        min_frequency: float = 2,
        dtype: Any = "float32",
        random_state: Any = None,
    ) -> None:
        self.categorical_features = categorical_features
        self.scaling = scaling
        self.max_one_hot = max_one_hot
        self.many_levels = many_levels
        self.min_frequency = min_frequency
        self.dtype = dtype
        self.random_state = random_state

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn how to encode a table.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            The table.
        y : None
            Not used.

        Returns
        -------
        self : TableEncoder
            The fitted encoder.

        Raises
        ------
        TypeError, ValueError
            If a parameter is invalid, or X is no table, has a column that cannot be used, or none
            that is of use. Nothing has changed then.
        """
        self._learn(X)
        return self

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_transform(self, X: Any, y: Any = None) -> npt.NDArray[Any]:
        """Learn how to encode a table, and encode it.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            The table.
        y : None
            Not used.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_features_out)
            What `transform` would return, with each column read once.
        """
        table, codes = self._learn(X)
        encoding = self._encoding
        columns = [table.columns[column] for column in encoding.read_as_numbers]
        return encode(encoding, table.n_rows, columns, codes)

    def transform(self, X: Any) -> npt.NDArray[Any]:
        """Encode a table.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            The table. Columns are matched by their places, and must have the names of the fit.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_features_out)
            C-contiguous, with the columns that `blocks_` tells.

        Raises
        ------
        TypeError, ValueError
            If X is no table, or its columns are not those of the fit.
        """
        if "_encoding" not in vars(self):  # else to ask scikit-learn would take a while
            check_is_fitted(self)
        encoding = fitted_encoding(self)
        table = read_table(self, X, used=encoding.used)
        n_read = len(encoding.read_as_numbers)
        of_categories = zip(encoding.categories, table.columns[n_read:], strict=True)
        codes = [category.codes(column.factorized()) for category, column in of_categories]
        return encode(encoding, table.n_rows, table.columns[:n_read], codes)

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[np.object_]:
        """Name the columns of the matrix.

        Parameters
        ----------
        input_features : array-like of str or None, default=None
            Names of the table's columns, which must be those of the fit.

        Returns
        -------
        names : ndarray of str objects
            Those of the table for numbers and codes; ``column_level`` for flags, where the level
            is that of +1 if there are two, and ``missingindicator_column``.
        """
        check_is_fitted(self)
        encoding = fitted_encoding(self)
        names = _check_feature_names_in(self, input_features)
        out = [names[column] for column in encoding.numbers.columns]
        for category in encoding.flagged:
            levels = category.levels[1:] if len(category.levels) == 2 else category.levels
            out += [f"{names[category.column]}_{level}" for level in levels]
        out += [f"missingindicator_{names[column]}" for column in encoding.indicators]
        out += [names[category.column] for category in encoding.coded]
        return np.array(out, dtype=object)

    def _learn(self, X: Any) -> tuple[Table, list[Codes]]:
        """Learn all of a table, and return it with the codes of the categories that are used."""
        before = dict(vars(self))
        try:
            table = read_table(self, X)
            is_categorical = which_are_categories(self.categorical_features, table)
            random_state = check_random_state(self.random_state)
            learned = learn(table, is_categorical, self, random_state)
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        self.is_categorical_ = is_categorical
        self.dropped_ = learned.dropped
        self.blocks_ = learned.encoding.blocks
        self._encoding = learned.encoding
        return table, learned.codes

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.categorical = True
        tags.transformer_tags.preserves_dtype = []
        return tags
