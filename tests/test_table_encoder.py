"""Tables of every kind become the same matrix, by what a slow implementation makes of them."""

import datetime
import enum
import pickle
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import ndtri
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer
from sklearn.utils.estimator_checks import parametrize_with_checks

import skmlp._table_columns
import skmlp._table_encoding
import skmlp._table_numbers
from skmlp import MLPClassifier, TableEncoder
from skmlp._table_numbers import LARGEST_SCORE, to_normal

NAMES = ["size", "kind", "count", "place", "flag", "odd"]
# In pandas 2 "str" makes objects, and text of None.
TEXT = "str" if int(pd.__version__.split(".")[0]) > 2 else "string"
IS_CATEGORY = [False, True, False, True, True, False]


def drawn_table(seed, n_rows=90, missing=0.1):
    """Return columns of Python objects, None where they are missing."""
    rng = np.random.default_rng(seed)
    columns = [
        (rng.standard_t(2, n_rows) * 10.0 ** rng.integers(-3, 4)).tolist(),
        rng.choice(["a", "b", "c", "d"], n_rows, p=[0.5, 0.3, 0.15, 0.05]).tolist(),
        rng.poisson(0.2, n_rows).tolist(),
        [f"place {k}" for k in rng.geometric(0.1, n_rows)],
        (rng.random(n_rows) < 0.2).tolist(),
        rng.integers(10**6, 10**6 + 5, n_rows).tolist(),
    ]
    for k in rng.permutation(len(columns))[:4]:
        gone = rng.random(n_rows) < missing
        columns[k] = [None if gone[i] else value for i, value in enumerate(columns[k])]
    return columns


def in_object_array(columns):
    return np.array(columns, dtype=object).T


def in_pandas(columns, *dtypes):
    series = [
        pd.Series(values, dtype=object).astype(dtype)
        for values, dtype in zip(columns, dtypes, strict=True)
    ]
    return pd.concat(series, axis=1, keys=NAMES)


def in_arrow(columns):
    pyarrow = pytest.importorskip("pyarrow")
    text, number = pd.ArrowDtype(pyarrow.string()), pd.ArrowDtype(pyarrow.float64())
    whole, truth = pd.ArrowDtype(pyarrow.int64()), pd.ArrowDtype(pyarrow.bool_())
    return in_pandas(columns, number, text, whole, text, truth, whole)


def in_polars(columns, text="String", whole="Int64"):
    polars = pytest.importorskip("polars")
    if not hasattr(polars, whole):
        pytest.skip(f"this release of polars has no {whole}")
    if text == "Enum":
        levels = {value for values in (columns[1], columns[3]) for value in values} - {None}
        text = polars.Enum(sorted(levels, reverse=True))
    else:
        text = getattr(polars, text)
    types = [polars.Float64, text, getattr(polars, whole), text, polars.Boolean, polars.Int64]
    return polars.DataFrame(
        {
            name: polars.Series(values, dtype=dtype)
            for name, values, dtype in zip(NAMES, columns, types, strict=True)
        }
    )


WAYS = {
    "objects": in_object_array,
    "lists": lambda columns: [list(row) for row in zip(*columns, strict=True)],
    "pandas, NumPy's": lambda c: in_pandas(c, float, object, float, object, object, float),
    "pandas, text": lambda c: in_pandas(c, "float64", TEXT, "Int64", TEXT, "boolean", "Int64"),
    "pandas, nullable": lambda c: in_pandas(
        c, "Float64", "string", "Int16", "string", "boolean", "Int32"
    ),
    "pandas, categories": lambda c: in_pandas(
        c, "float64", "category", "float32", "category", "category", "float64"
    ),
    "pandas, arrow": in_arrow,
    "polars": in_polars,
    "polars, categories": lambda c: in_polars(c, "Categorical", "UInt8"),
    "polars, enumerations": lambda c: in_polars(c, "Enum", "Int128"),
}


# The slow implementation: one column after the other, one value after the other.
def robustly(values):
    lower, median, upper = np.quantile(values, [0.25, 0.5, 0.75])
    scale = (upper - lower) or (max(values) - min(values)) / 2
    return lambda x: (x - median) / scale / np.sqrt(1 + ((x - median) / scale / 3) ** 2)


def scaler(scaling, values):
    if scaling == "robust":
        return robustly(values)
    if scaling == "standard":
        mean, deviation = np.mean(values), np.std(values)
        return lambda x: (x - mean) / deviation
    return lambda x: x


def flag_scaler(scaling, values):
    return robustly(values) if scaling == "robust" else lambda x: x


def literal(fit, new, *, scaling="robust", max_one_hot=9, many_levels="code", min_frequency=2):
    """Return the encoded rows of `new`, and the names of what is dropped."""
    numbers, flags, indicators, codes, dropped = [], [], {}, [], {}
    seen = []
    for name, is_category, values, others in zip(NAMES, IS_CATEGORY, fit, new, strict=True):
        known = [value for value in values if value is not None]
        if is_category:
            levels = sorted(set(known))
            if len(levels) + 1 > max_one_hot:
                levels = [one for one in levels if known.count(one) >= min_frequency]
            values = [value if value in levels else None for value in values]
            others = [value if value in levels else None for value in others]
        elif None in values and known:
            missing = tuple(float(value is None) for value in values)
            scale = flag_scaler(scaling, missing)
            indicators.setdefault(missing, [scale(float(value is None)) for value in others])
        if len(set(values) - ({None} if not is_category else set())) < 2:
            dropped[name] = "constant"
        elif (is_category, values) in [one for _, one in seen]:
            first = next(n for n, one in seen if one == (is_category, values))
            dropped[name] = f"same as {first}"
        elif not is_category:
            mean, scale = np.mean(known), scaler(scaling, known)
            numbers.append([scale(mean if value is None else value) for value in others])
        elif len(levels) + 1 > max_one_hot and many_levels == "code":
            codes.append([0 if value is None else levels.index(value) + 1 for value in others])
        elif len(levels) == 2:
            number = {None: 0.0, levels[0]: -1.0, levels[1]: 1.0}
            scale = flag_scaler(scaling, [number[value] for value in values])
            flags.append([scale(number[value]) for value in others])
        else:
            for level in levels:
                scale = flag_scaler(scaling, [float(value == level) for value in values])
                flags.append([scale(float(value == level)) for value in others])
        seen.append((name, (is_category, values)))
    matrix = np.array([*numbers, *flags, *indicators.values(), *codes], dtype=float).T
    return matrix, dropped, (len(numbers), len(flags) + len(indicators), len(codes))


SETTINGS = [
    {},
    {"scaling": "standard", "max_one_hot": 3},
    {"scaling": None, "many_levels": "one-hot", "min_frequency": 5},
    {"max_one_hot": 0, "min_frequency": 1},
    {"max_one_hot": 5, "many_levels": "one-hot", "min_frequency": 3},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_against_the_slow_implementation(settings):
    for seed in range(12):
        n_rows = [90, 7, 25, 2][seed % 4]
        fit, new = drawn_table(seed, n_rows, [0.1, 0.5, 0.0][seed % 3]), drawn_table(seed + 50, 40)
        if seed % 2:
            fit[2] = list(fit[5])  # of numbers, and of categories
            fit[3] = list(fit[1])
        encoder = TableEncoder(dtype="float64", categorical_features=IS_CATEGORY, **settings)
        expected, dropped, widths = literal(fit, new, **settings)
        if not expected.size:
            with pytest.raises(ValueError, match="no column of use"):
                encoder.fit(in_object_array(fit))
            continue
        encoder.fit(pd.DataFrame(in_object_array(fit), columns=NAMES))
        assert encoder.dropped_ == dropped
        numbers, flags, levels = encoder.blocks_
        assert (numbers, flags, len(levels)) == widths
        with np.errstate(invalid="ignore"):
            found = encoder.transform(pd.DataFrame(in_object_array(new), columns=NAMES))
        assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
        assert (found[:, numbers + flags :] < levels).all()
        assert len(encoder.get_feature_names_out()) == found.shape[1]
        assert len(set(encoder.get_feature_names_out())) == found.shape[1]


def renamed(names, encoder):
    """Return names of columns as they are where a frame has been fitted."""
    if hasattr(encoder, "feature_names_in_"):
        for k, name in enumerate(NAMES):
            names = [text.replace(f"x{k}", name) for text in names]
    return names


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_pass_a_table_gives_the_same_matrix(monkeypatch, way):
    fit, new = drawn_table(0), drawn_table(1)
    fit[5][0] = None
    fit[0] = [None if value is None else float(np.float32(value)) for value in fit[0]]
    encoder = TableEncoder(max_one_hot=5)
    expected = encoder.fit_transform(WAYS["objects"](fit))
    of_new = encoder.transform(WAYS["objects"](new))
    assert encoder.blocks_.levels
    ours = clone(encoder)
    with monkeypatch.context() as patch:
        patch.setattr(skmlp._table_columns, "FEW", 0)  # as if there were many rows
        assert_array_equal(ours.fit_transform(WAYS[way](fit)), expected)
    assert_array_equal(ours.transform(WAYS[way](new)), of_new)
    assert ours.is_categorical_.tolist() == IS_CATEGORY
    assert ours.blocks_ == encoder.blocks_
    assert_array_equal(ours.get_feature_names_out(), renamed(encoder.get_feature_names_out(), ours))
    assert hasattr(ours, "feature_names_in_") == ("," in way or way == "polars")


def test_quantiles_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.lognormal(size=700), rng.poisson(1.0, 700), rng.normal(size=700)])
    X[rng.random(X.shape) < 0.1] = np.nan
    new = np.vstack([X[:50], rng.normal(scale=5, size=(50, 3))])
    encoder = TableEncoder(scaling="quantile", dtype="float64", random_state=3).fit(X)
    noise = np.random.RandomState(3)
    for k, column in enumerate(X.T):
        known = column[~np.isnan(column)]
        noisy = known + noise.normal(0.0, 1e-5 * np.std(known), len(known))
        theirs = QuantileTransformer(
            n_quantiles=700 // 30, output_distribution="normal", subsample=None
        ).fit(noisy[:, np.newaxis])
        filled = np.where(np.isnan(new[:, k]), np.mean(known), new[:, k])
        expected = theirs.transform(filled[:, np.newaxis])[:, 0]
        assert_allclose(encoder.transform(new)[:, k], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("together", [1, 100, 16_000])
def test_quantiles_are_searched_for_as_numpy_interpolates(monkeypatch, together):
    monkeypatch.setattr(skmlp._table_numbers, "SEARCHED_TOGETHER", together)
    rng = np.random.default_rng(0)
    tables = []
    for n_edges in (1, 2, 3, 64, 65, 1000):
        sizes = rng.choice([1e300, 1e-300, 1.0, 1e9], n_edges)
        edges = np.unique(sizes * rng.normal(size=n_edges))
        tables.append(np.stack([edges, np.sort(rng.random(len(edges)))]))
    near = np.concatenate([table[0] for table in tables])
    near = np.concatenate([near, np.nextafter(near, np.inf), np.nextafter(near, -np.inf)])
    values = np.concatenate([near, rng.normal(size=50), [0.0, -0.0, 1.7e308, -1.7e308, np.nan]])
    found = to_normal(tables)(np.tile(values, (len(tables), 1)))
    for own, table in zip(found, tables, strict=True):
        expected = ndtri(np.interp(values, *table))
        expected[-1] = np.nan  # which is filled afterwards
        expected = np.clip(expected, -LARGEST_SCORE, LARGEST_SCORE)
        assert_allclose(own, expected, rtol=1e-12, atol=1e-12)
    wide = [np.array([[-1.5e308, 0.0, 1.7e308], [0.1, 0.5, 0.9]])]
    scores = to_normal(wide)(np.array([[-1.7e308, -1e300, 0.0, 1e308, 1.7e308]]))
    assert (np.diff(scores) >= 0.0).all()
    wide = [np.array([[-1.5e308, 1.7e308], [0.1, 0.9]])]
    scores = to_normal(wide)(np.array([[-1.7e308, 1e308, 1.7e308]]))
    assert_allclose(scores, [ndtri([0.1, 0.1, 0.9])])


def test_quantiles_of_many_rows_are_learned_from_some(monkeypatch):
    monkeypatch.setattr(skmlp._table_numbers, "MAX_SAMPLE", 2000)
    X = np.random.default_rng(0).exponential(size=(20_000, 2))
    X[:19_990, 1] = np.nan  # none of the others may be drawn
    encoder = TableEncoder(scaling="quantile", random_state=0)
    encoded = encoder.fit_transform(X)
    assert abs(encoded[:, 0].mean()) < 0.1
    assert abs(encoded[:, 0].std() - 1) < 0.1
    assert encoded[19_990:, 1].std() > 0.5
    assert_array_equal(clone(encoder).fit_transform(X), encoded)
    assert (clone(encoder).set_params(random_state=1).fit_transform(X) != encoded).any()


@pytest.mark.parametrize("scaling", ["robust", "quantile", "standard", None])
def test_pieces_do_not_change_bits(monkeypatch, scaling):
    frame = WAYS["pandas, text"](drawn_table(3, 400))
    encoder = TableEncoder(scaling=scaling, max_one_hot=5, random_state=0)
    expected = encoder.fit_transform(frame)
    assert expected.dtype == np.float32
    assert expected.flags.c_contiguous
    assert_array_equal(encoder.fit(frame).transform(frame), expected)
    for n_rows in (1, 7, 399):
        monkeypatch.setattr(skmlp._table_encoding, "CHUNK_ROWS", n_rows)
        assert_array_equal(clone(encoder).fit_transform(frame), expected)
    rows = [encoder.transform(frame.iloc[k : k + 1]) for k in range(20)]
    assert_array_equal(np.vstack(rows), expected[:20])


@pytest.mark.parametrize("dtype", ["bool", "int8", "uint64", "float16", "float32", "<U5", ">f8"])
def test_arrays_of_one_type(dtype):
    X = np.random.default_rng(0).integers(0, 3, (40, 3)).astype(dtype)
    X[:, 1] = X[::-1, 1]
    encoder = TableEncoder(scaling=None)
    encoded = encoder.fit_transform(X)
    if dtype in ("bool", "<U5"):
        assert encoder.is_categorical_.all()
        if dtype == "bool":
            assert_array_equal(encoded, np.where(X, 1, -1))
        else:
            assert_array_equal(encoded[:, :3], X[:, :1] == ["0", "1", "2"])
    else:
        assert_array_equal(encoded, X)
    # Not C-contiguous, and read-only.
    other = np.asfortranarray(X)
    other.flags.writeable = False
    assert_array_equal(encoder.transform(other), encoded)
    assert_array_equal(clone(encoder).fit_transform(other), encoded)


def test_missing_and_unknown():
    X = pd.DataFrame(
        {
            "binary": ["no", "yes", "no", "yes"],
            "few": ["a", None, "b", "c"],
            "many": ["k", "l", "k", "l"],
            "number": [1.0, 2.0, 3.0, 6.0],
        }
    )
    encoder = TableEncoder(scaling="standard", max_one_hot=4).fit(X)
    assert encoder.get_feature_names_out().tolist() == [
        "number",
        "binary_yes",
        "few_a",
        "few_b",
        "few_c",
        "many_l",
    ]
    new = pd.DataFrame(
        {
            "binary": ["yes", "maybe", np.nan],
            "few": ["c", "d", pd.NA],
            "many": [None, "k", "z"],
            "number": [3.0, None, 6.0],
        },
        dtype=object,
    )
    encoded = encoder.transform(new)
    assert_array_equal(encoded[:2, 0], [0.0, 0.0])  # the mean of the fit, without an indicator
    assert_array_equal(encoded[:, 1], [1.0, 0.0, 0.0])
    assert_array_equal(encoded[:, 2:5], [[0, 0, 1], [0, 0, 0], [0, 0, 0]])
    codes = TableEncoder(max_one_hot=2).fit(X[["few", "many"]])
    assert codes.blocks_ == (0, 0, (3,))
    assert_array_equal(codes.transform(new[["few", "many"]])[:, 0], [0, 1, 0])


def test_rare_levels_are_unknown_where_there_are_many():
    X = np.array([["a"] * 4 + ["b"] * 3 + ["c"] * 2 + ["d"], list("aabbccddee")]).T
    encoder = TableEncoder(max_one_hot=4, min_frequency=3).fit(X)
    assert encoder.blocks_ == (0, 1, ())  # two levels are left of four, of which one-hot is enough
    assert encoder.dropped_ == {"x1": "constant"}
    assert_array_equal(
        clone(encoder).set_params(scaling=None).fit_transform(X)[:, 0], [-1] * 4 + [1] * 3 + [0] * 3
    )
    assert TableEncoder(max_one_hot=4, min_frequency=0.3).fit(X).blocks_ == encoder.blocks_
    assert TableEncoder(max_one_hot=4, min_frequency=1).fit(X).blocks_ == (0, 0, (5, 6))
    assert TableEncoder(max_one_hot=6, min_frequency=3).fit(X).blocks_ == (0, 9, ())
    ids = np.array([f"id {k}" for k in range(10)])[:, np.newaxis]
    with pytest.raises(ValueError, match="rarer than min_frequency"):
        TableEncoder().fit(ids)


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


def test_levels_are_compared_as_python_compares_them():
    X = np.array([[1, "1", 2.5, None], [1.0, "1", 2.5, True], [3, "2", np.nan, "x"]], dtype=object)
    mask = [True] * 4
    encoder = TableEncoder(categorical_features=mask, scaling=None).fit(X)
    assert encoder.get_feature_names_out().tolist() == ["x0_3", "x1_2", "x2_2.5", "x3_x"]
    assert encoder.dropped_ == {}
    new = np.array([[np.int8(3), 1, Decimal("2.5"), 1], ["3", "1", 3, False]], dtype=object)
    assert_array_equal(encoder.transform(new), [[1, 0, 1, -1], [0, -1, 0, 0]])
    numbers = TableEncoder(categorical_features=[0], scaling=None).fit([[1, 0.5], [2, 1.5]])
    assert_array_equal(numbers.transform([[2.0, 0.5]]), [[0.5, 1.0]])
    members = np.array([[Size.SMALL], [Size.LARGE]], dtype=object)
    sizes = TableEncoder(categorical_features=[0], scaling=None).fit(members)
    assert_array_equal(sizes.transform([[1], [2]]), sizes.transform(members))
    assert {type(level) for level in sizes._encoding.categories[0].levels} == {int}
    # Whole numbers that no float tells apart, and infinity.
    ids = TableEncoder(categorical_features=[0], scaling=None)
    exact = np.array([[2**62], [2**62 + 1], [5]])
    assert_array_equal(ids.fit_transform(exact), [[0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert_array_equal(ids.fit_transform([[np.inf], [0.5], [np.inf]])[:, 0], [1, -1, 1])


def test_levels_of_one_row_are_found_among_many():
    levels = [*range(150), 0.5, True, *(f"level {k}" for k in range(150))]
    X = np.array([levels, levels], dtype=object).reshape(-1, 1)
    encoder = TableEncoder(categorical_features=[0]).fit(X)
    assert encoder.blocks_ == (0, 0, (302,))  # 1 and True are the same
    new = np.array([[*levels, None, np.nan, -1, 1.5, 1e9, "", "level", "z"]], dtype=object).T
    together = encoder.transform(np.vstack([new] * 2))
    assert_array_equal(
        np.vstack([encoder.transform(row[np.newaxis]) for row in new]), together[: len(new)]
    )
    assert_array_equal(np.sort(np.unique(together)), np.arange(302))
    assert not together[len(levels) : len(new)].any()


def test_columns_that_begin_alike_are_no_duplicates():
    X = np.random.default_rng(0).integers(0, 3, (3000, 4))
    X[:, 1:] = X[:, :1]
    first, second = np.argmax(X[1000:, 0] == 0) + 1000, np.argmax(X[1000:, 0] == 1) + 1000
    X[[first, second], 1] = [1, 0]  # as many of each
    for categories in (None, range(4)):
        encoder = TableEncoder(categorical_features=categories).fit(X)
        assert encoder.dropped_ == {"x2": "same as x0", "x3": "same as x0"}


def test_intervals_as_categories():
    ages = pd.cut(pd.Series([1, 5, 20, 40, 70]), [0, 10, 30, 100])
    encoder = TableEncoder(scaling=None).fit(pd.DataFrame({"age": ages}))
    assert encoder.get_feature_names_out().tolist() == [
        "age_(0, 10]",
        "age_(10, 30]",
        "age_(30, 100]",
    ]


def test_columns_that_are_of_no_use():
    frame = pd.DataFrame(
        {
            "a": [1.0, 2.0, 4.0, np.nan],
            "b": [7, 7, 7, 7],
            "c": ["u", "v", "u", "v"],
            "a again": [1.0, 2.0, 4.0, np.nan],
            "gone": [None] * 4,
            "c again": ["u", "v", "u", "v"],
            "seven": [7.0, 7.0, np.nan, 7.0],
            "minus": [0.0, -0.0, 0.0, 1.0],
            "zero": [-0.0, 0.0, 0.0, 1.0],
            "none": [1.5, 2.0, 4.0, np.nan],
        }
    )
    encoder = TableEncoder(scaling=None).fit(frame)
    assert encoder.dropped_ == {
        "b": "constant",
        "gone": "constant",
        "seven": "constant",
        "a again": "same as a",
        "c again": "same as c",
        "zero": "same as minus",
    }
    # Where seven is missing is of use; "none" misses the same row as "a" does.
    assert encoder.get_feature_names_out().tolist() == [
        "a",
        "minus",
        "none",
        "c_v",
        "missingindicator_a",
        "missingindicator_seven",
    ]
    frame.loc[1, ["a", "b", "a again"]] = np.nan
    encoded = encoder.transform(frame)
    assert_array_equal(encoded[:, 4:].T, [[0, 1, 0, 1], [0, 0, 1, 0]])


def frame_with(**column):
    return pd.DataFrame({"good": [0.0, 1.0, 2.0], **column})


WRONG = {
    "date": ([datetime.date(2020, 1, day) for day in (1, 2, 3)], "dates or times"),
    "datetime": (pd.date_range("2020", periods=3), "dates or times"),
    "zone": (pd.date_range("2020", periods=3, tz="UTC"), "dates or times"),
    "delta": (pd.to_timedelta([1, 2, 3], unit="h"), "dates or times"),
    "period": (pd.period_range("2020", periods=3, freq="M"), "type Period"),
    "complex": ([1j, 2.0, 3.0], "complex numbers"),
    "nested": ([[1], [2, 3], []], "nested values"),
    "mapping": ([{}, {}, {}], "nested values"),
    "bytes": ([b"a", b"b", b"c"], "bytes"),
    "object": ([object(), 1, 2], "type object"),
    "infinite": ([1.0, np.inf, 2.0], "infinity"),
    "minus": ([1.0, -np.inf, np.nan], "infinity"),
    "huge": ([1e308, 1.2e308, 1.5e308], "too large"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_refused_is_named(name):
    values, why = WRONG[name]
    encoder = TableEncoder().fit(frame_with())
    before = pickle.dumps(encoder)
    kind = ValueError if why in ("infinity", "too large") else TypeError
    with pytest.raises(kind, match=rf"'{name}'.*{why}"):
        encoder.fit(frame_with(**{name: values}))
    assert pickle.dumps(encoder) == before, "what was learned before has changed"
    numbers = frame_with(**{name: [1.0, 2.0, 3.0]})
    if why != "too large":
        with pytest.raises(kind, match=rf"'{name}'.*{why}"):
            encoder.fit(numbers).transform(frame_with(**{name: values}))


@pytest.mark.parametrize(
    ("dtype", "values", "why"),
    [
        ("Date", [datetime.date(2020, 1, 1)] * 3, "dates or times"),
        ("List", [[1], [2], [3]], "nested values"),
        ("Binary", [b"a"] * 3, "bytes"),
        ("Object", [1j, 2j, 3j], "complex numbers"),
    ],
)
def test_what_is_refused_in_polars_is_named(dtype, values, why):
    polars = pytest.importorskip("polars")
    kind = polars.List(polars.Int64) if dtype == "List" else getattr(polars, dtype)
    frame = polars.DataFrame({"good": [1, 2, 3], "bad": polars.Series(values, dtype=kind)})
    with pytest.raises(TypeError, match=f"'bad'.*{why}"):
        TableEncoder().fit(frame)


def test_text_in_a_column_of_numbers():
    frame = frame_with(text=["1.5", "2", "x"], kind=pd.Categorical(["u", "v", "v"]))
    for name in ("text", "kind"):
        with pytest.raises(TypeError, match=f"'{name}' is to be read as numbers, but could not"):
            TableEncoder(categorical_features=None).fit(frame[["good", name]])
    frame["text"] = ["1.5", "2", "-1e3"]  # as scikit-learn reads it
    encoder = TableEncoder(categorical_features=None, scaling=None)
    encoded = encoder.fit_transform(frame[["text"]].astype(object))
    assert_array_equal(encoded[:, 0], [1.5, 2.0, -1000.0])
    with pytest.raises(TypeError, match="'text' is to be read as numbers, but could not"):
        encoder.transform(pd.DataFrame({"text": ["1", "one"]}))


def test_what_is_no_table():
    encoder = TableEncoder()
    with pytest.raises(TypeError, match=r"Sparse data.*toarray"):
        encoder.fit(scipy.sparse.eye_array(3))
    with pytest.raises(ValueError, match="0 sample"):
        encoder.fit(frame_with().iloc[:0])
    with pytest.raises(ValueError, match="2D"):
        encoder.fit(np.arange(3.0))
    with pytest.raises(ValueError, match=r"n_samples=3 all of them are constant"):
        encoder.fit(np.ones((3, 2)))
    with pytest.raises(TypeError, match=r"dates or times"):
        encoder.fit(np.array([["2020-01-01"], ["2021-01-01"]], dtype="M8[D]"))
    with pytest.raises(NotFittedError):
        encoder.transform(frame_with())
    encoder.fit(frame_with(other=[1.0, 2.0, 5.0]))
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(frame_with())
    with pytest.raises(ValueError, match="feature names"):
        encoder.transform(frame_with(another=[1.0, 2.0, 5.0]))
    with (
        pytest.warns(UserWarning, match="feature names"),
        pytest.raises(ValueError, match="3 feat"),
    ):
        encoder.transform(np.ones((2, 3)))
    with pytest.raises(ValueError, match="min_frequency"):
        encoder.set_params(min_frequency=1.5).fit(frame_with())


def test_a_frame_of_another_library():
    pyarrow = pytest.importorskip("pyarrow")
    with pytest.raises(TypeError, match=r"pyarrow.*to_pandas"):
        TableEncoder().fit(pyarrow.table({"a": [1, 2]}))


def test_a_lazy_frame():
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"LazyFrame.*collect"):
        TableEncoder().fit(polars.DataFrame({"a": [1, 2]}).lazy())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("from_dtype", [False, True, True, False]),
        (None, [False, False, False, False]),
        ([], [False, False, False, False]),
        ([0, 2], [True, False, True, False]),
        (np.array([True, False, False, True]), [True, False, False, True]),
        (["n", "m"], [True, False, False, True]),
        (pd.Index(["c"]), [False, True, False, False]),
    ],
)
def test_which_are_categories(given, expected):
    frame = pd.DataFrame(
        {"n": [1, 2, 3], "c": pd.Categorical([4, 5, 5]), "b": [True, False, False]}
    )
    frame["m"] = [0.5, 1.5, 1.5]
    encoder = TableEncoder(categorical_features=given).fit(frame)
    assert encoder.is_categorical_.tolist() == expected
    assert encoder.blocks_.numbers == 4 - sum(expected)


@pytest.mark.parametrize(
    ("given", "X", "message"),
    [
        ([4], frame_with(), "between 0 and 0"),
        ([-1], frame_with(), "between 0 and 0"),
        ([True, False], frame_with(), "mask of 2 columns, but X has 1"),
        (["bad"], frame_with(), r"'bad', which X does not have.*\['good'\]"),
        (["good"], np.ones((2, 2)), "'good', but X has no names"),
        ([0.5], frame_with(), "bool, int or str"),
        (np.array(["a", 1], dtype=object), frame_with(), "bool, int or str"),
        ([[0]], frame_with(), "numbers or names"),
        ("dtype", frame_with(), "categorical_features"),
    ],
)
def test_wrong_names_of_categories(given, X, message):
    with pytest.raises(ValueError, match=message):
        TableEncoder(categorical_features=given).fit(X)


def test_scaled_numbers_stay_in_range():
    X = np.array([[0.0, 0.0], [5e-324, 1.0], [1e-323, 2.0], [0.0, 5.0]])
    encoder = TableEncoder().fit(X)
    encoded = encoder.transform([[1e300, -1e308]])
    assert_allclose(encoded, [[3.0, -3.0]])
    for scaling in ("standard", None):
        encoder = TableEncoder(scaling=scaling).fit(X[:, 1:])
        with pytest.raises(ValueError, match=r"'x0'.*larger than float32"):
            encoder.transform([[1e300]])
        wide = clone(encoder).set_params(dtype=np.float64).fit(X[:, 1:])
        assert wide.transform([[1e300]]) > 1e299
    tiny = TableEncoder(scaling="standard").fit_transform(X[:, 1:] * 1e-300)
    assert_allclose([tiny.mean(), tiny.std()], [0.0, 1.0], atol=1e-6)


def test_attributes_that_were_changed():
    X = in_object_array(drawn_table(0))
    for scaling in ("robust", "quantile"):
        fitted = TableEncoder(max_one_hot=5, scaling=scaling, random_state=0).fit(X)
        numbers = fitted._encoding.numbers
        for wrong in (None, "x", fitted._encoding.blocks, TableEncoder()):
            changed = pickle.loads(pickle.dumps(fitted))
            changed._encoding = wrong
            with pytest.raises(ValueError, match=r"_encoding is .* Fit again"):
                changed.transform(X)
        for name in ("mean", "center", "scale", "columns", "quantiles"):
            nothing = np.full(len(numbers.mean), [np.nan, 0.0][name == "scale"])
            for wrong in (None, np.ones(2), "x", nothing, (1, 2)):
                changed = pickle.loads(pickle.dumps(fitted))
                object.__setattr__(changed._encoding.numbers, name, wrong)
                with pytest.raises(ValueError, match=r"_encoding is .* Fit again"):
                    changed.transform(X)
        for name in ("levels", "flags", "column"):
            for wrong in (np.ones(2), "x", np.full((3, 9), np.nan), (1, 2), -1):
                changed = pickle.loads(pickle.dumps(fitted))
                object.__setattr__(changed._encoding.categories[0], name, wrong)
                with pytest.raises(ValueError, match=r"_encoding is .* Fit again"):
                    changed.transform(X)
    for wrong in (3, "x", None):
        changed = pickle.loads(pickle.dumps(fitted))
        changed.n_features_in_ = wrong
        with pytest.raises((ValueError, TypeError), match=r"features|Fit again"):
            changed.transform(X)


def test_pickles_have_no_data():
    frame = WAYS["pandas, text"](drawn_table(0, 3000))
    for scaling in ("robust", "quantile"):
        encoder = TableEncoder(scaling=scaling).fit(frame)
        content = pickle.dumps(encoder)
        assert len(content) < 12_000
        assert_array_equal(pickle.loads(content).transform(frame), encoder.transform(frame))


def test_predictions_of_the_fit_do_not_depend_on_parameters_set_later():
    X = in_object_array(drawn_table(0))
    encoder = TableEncoder().fit(X)
    expected = encoder.transform(X)
    encoder.set_params(scaling=None, max_one_hot=2, dtype="float64", categorical_features=None)
    assert_array_equal(encoder.transform(X), expected)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_come_out(library):
    pytest.importorskip(library)
    frame = WAYS["pandas, text"](drawn_table(0))
    encoder = TableEncoder(max_one_hot=5)
    expected = encoder.fit_transform(frame)
    out = encoder.set_output(transform=library).fit_transform(frame)
    assert list(out.columns) == encoder.get_feature_names_out().tolist()
    assert_array_equal(out.to_numpy(), expected)


def test_in_scikit_learn():
    frame = WAYS["pandas, text"](drawn_table(0, 60, missing=0.05))
    y = np.asarray(frame["size"].fillna(0) > 0)
    network = MLPClassifier((8,), solver="lbfgs", max_iter=50, random_state=0)
    model = make_pipeline(TableEncoder(many_levels="one-hot"), network)
    search = GridSearchCV(model, {"tableencoder__scaling": ["robust", "standard"]}, cv=2)
    assert search.fit(frame, y).score(frame, y) > 0.9
    parts = ColumnTransformer(
        [("t", TableEncoder(categorical_features=["kind"]), ["kind", "count"])]
    )
    assert parts.fit_transform(frame).shape[1] == len(parts.get_feature_names_out()) >= 4


@parametrize_with_checks(
    [
        TableEncoder(),
        TableEncoder(scaling="quantile", dtype="float64"),
        TableEncoder(scaling=None, many_levels="one-hot", max_one_hot=2, categorical_features=[0]),
    ]
)
def test_estimator_check(estimator, check):
    check(estimator)


def test_known_names_are_compared_in_a_short_way(monkeypatch):
    """And whatever differs goes the long way, to scikit-learn's words."""
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame({"a": [1.0, 2.0, 3.0], "b": [1.0, 5.0, 2.0]})
    encoder = TableEncoder().fit(X)
    for other, message in [
        (X[["b", "a"]], "same order"),
        (X.rename(columns={"b": "c"}), "feature names should match"),
        (X[["a"]], "feature names should match"),
        (X.assign(c=1.0), "feature names should match"),
    ]:
        with pytest.raises(ValueError, match=message):
            encoder.transform(other)
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        encoder.transform(X.set_axis([0, 1], axis=1))

    def long_way(*_, **__):
        raise AssertionError

    monkeypatch.setattr("skmlp._table_reading.validate_data", long_way)
    assert encoder.transform(X).shape == (3, 2)
