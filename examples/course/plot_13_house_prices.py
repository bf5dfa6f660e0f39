r"""
13. House prices, and how sure they are
=======================================

What does a house cost? One number is half an answer: whoever sells wants to know how far off it may
be. Networks can answer both, in three ways: a distribution for each house, quantiles, and several
networks that disagree where they know little.

The houses are made up, so that we know the truth: prices scatter more the larger a house is.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_diabetes
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPRegressor
from skmlp.losses import Quantile

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

# %%
# The houses
# ----------
#
# Area in square meters, age in years, distance from the center in kilometers; prices in thousands.
# The price falls quickly with the distance, a region with gardens begins at about 12 km, and very
# old houses are loved again.
rng = np.random.default_rng(0)
n = 1500
area = rng.uniform(40, 220, n)
age = rng.uniform(0, 100, n)
distance = rng.uniform(0, 20, n)


def expected_price(area, age, distance):
    """Return the mean price of such houses."""
    gardens = 60 / (1 + np.exp(12 - distance))
    return 2.2 * area * (0.7 + np.exp(-distance / 5)) + gardens + 0.02 * (age - 55) ** 2


scatter = 5 + 0.25 * area
price = expected_price(area, age, distance) + scatter * rng.normal(size=n)
X = np.column_stack([area, age, distance])
X_train, X_test, y_train, y_test = train_test_split(X, price, random_state=0)
assert len(X_test) == 375

# %%
# A price
# -------
#
# First without any doubt: a network that predicts the mean, beside linear regression. ``y_scale``
# brings prices to mean zero and variance one for the fit; predictions are in thousands again.
settings = {
    "hidden_layer_sizes": (32, 32),
    "activation": "silu",
    "learning_rate_init": 0.01,
    "y_scale": "standard",
    "early_stopping": True,
    "n_iter_no_change": 60,
    "max_iter": 2000,
    "random_state": 0,
}
linear = make_pipeline(StandardScaler(), LinearRegression()).fit(X_train, y_train)
network = make_pipeline(StandardScaler(), MLPRegressor(**settings)).fit(X_train, y_train)
for name, model in {"linear regression": linear, "network": network}.items():
    error = np.abs(model.predict(X_test) - y_test).mean()
    print(f"{name:18} R² {model.score(X_test, y_test):.3f}, mean error {error:.0f} thousand")
assert network.score(X_test, y_test) > linear.score(X_test, y_test)

# %%
# A distribution for each house
# -----------------------------
#
# With ``loss="gaussian_nll"`` the network has two outputs for each price, mean :math:`m` and
# variance :math:`s^2`, and makes the observed prices as probable as it can:
#
# .. math:: L = \tfrac{1}{2} \Bigl( \log s^2 + \frac{(y - m)^2}{s^2} + \log 2 \pi \Bigr).
#
# A large error costs less where the network has said that it is unsure, but being unsure costs,
# too.
gaussian = MLPRegressor(loss="gaussian_nll", **settings)
gaussian.set_params(scoring="loss")
gaussian = make_pipeline(StandardScaler(), gaussian).fit(X_train, y_train)
mean, deviation = gaussian.predict(X_test, return_std=True)
inside = np.abs(y_test - mean) < 1.645 * deviation
print(f"{inside.mean():.0%} of new prices lie in the interval that should hold 90%")
assert 0.84 < inside.mean() < 0.96

order = np.argsort(mean)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
left.errorbar(
    *(mean, y_test, None, 1.645 * deviation),
    **{"fmt": "o", "color": BLUE, "ecolor": "0.8", "markersize": 3, "elinewidth": 0.8, "zorder": 2},
)
left.axline((200, 200), slope=1, color="k", linewidth=0.8, zorder=3)
left.set(xlabel="predicted price, with 90% interval", ylabel="price", title="In thousands")
right.scatter(X_test[:, 0], deviation, s=10, color=BLUE, label="as the network says")
line = np.array([40, 220])
right.plot(line, 5 + 0.25 * line, color=ORANGE, label="the truth")
right.set(xlabel="area in square meters", ylabel="standard deviation of the price")
right.legend(frameon=False)
plt.show()
truth = 5 + 0.25 * X_test[:, 0]
print(
    f"correlation of its deviations with the true ones: {np.corrcoef(deviation, truth)[0, 1]:.2f}"
)
assert np.corrcoef(deviation, truth)[0, 1] > 0.7

# %%
# Quantiles
# ---------
#
# Who does not believe in bell curves asks for quantiles: the price that one house in twenty stays
# below, the median, and the price that one in twenty exceeds. One network gives all three, and they
# never cross.
quantiles = MLPRegressor(loss=Quantile((0.05, 0.5, 0.95)), **settings)
quantiles = make_pipeline(StandardScaler(), quantiles).fit(X_train, y_train)
low, median, high = quantiles.predict(X_test).T
assert (low <= median).all()
assert (median <= high).all()
inside = (low < y_test) & (y_test < high)
print(f"{inside.mean():.0%} of new prices lie between the outer quantiles, which should hold 90%")
assert 0.82 < inside.mean() < 0.97

street = np.column_stack([np.full(200, 120), np.full(200, 40), np.linspace(0, 20, 200)])
low, median, high = quantiles.predict(street).T
figure, axes = plt.subplots(figsize=(6.6, 3.6), layout="constrained")
axes.fill_between(
    street[:, 2], low, high, color=BLUE, alpha=0.25, linewidth=0, label="90% interval"
)
axes.plot(street[:, 2], median, color=BLUE, label="median")
axes.plot(street[:, 2], expected_price(*street.T), "--", color=ORANGE, label="the true mean")
axes.set(xlabel="distance from the center in km", ylabel="price in thousands")
axes.set_title("A house of 120 m², 40 years old", fontsize="medium")
axes.legend(frameon=False)
plt.show()

# %%
# What the data do not tell
# -------------------------
#
# Scatter is one doubt; not having seen such a house is another. Several networks from different
# starts agree where there are data, and go separate ways where there are none. ``n_estimators``
# trains them in one run.
several = MLPRegressor(n_estimators=8, **settings)
several = make_pipeline(StandardScaler(), several).fit(X_train, y_train)
areas = np.linspace(20, 450, 200)
row = np.column_stack([areas, np.full(200, 40), np.full(200, 5)])
mean, between = several.predict(row, return_std=True)
known = (areas > 40) & (areas < 220)
print(f"networks differ by {between[known].mean():.0f} thousand where there are data", end=", ")
print(f"by {between[areas > 400].mean():.0f} beyond 400 square meters")
assert between[areas > 400].mean() > 3 * between[known].mean()

figure, axes = plt.subplots(figsize=(6.6, 3.6), layout="constrained")
axes.axvspan(40, 220, color="0.93", label="areas of the training data")
axes.fill_between(
    *(areas, mean - 2 * between, mean + 2 * between),
    **{"color": BLUE, "alpha": 0.3, "linewidth": 0, "label": "mean ± 2 standard deviations"},
)
axes.plot(areas, mean, color=BLUE, label="mean of 8 networks")
axes.set(xlabel="area in square meters", ylabel="price in thousands", xlim=(20, 450))
axes.legend(frameon=False, loc="upper left")
plt.show()

# %%
# Real data
# ---------
#
# The same with data that nobody has made up: how diabetes of 442 people went on in a year. There
# are few of them, so the network is small and has a penalty.
X, y = load_diabetes(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
model = MLPRegressor(
    loss="gaussian_nll",
    hidden_layer_sizes=(4,),
    activation="tanh",
    solver="lbfgs",
    alpha=10.0,
    y_scale="standard",
    max_iter=2000,
    random_state=0,
)
scaler = make_column_transformer((StandardScaler(), slice(0, 10)))
model = make_pipeline(scaler, model).fit(X_train, y_train)
mean, deviation = model.predict(X_test, return_std=True)
inside = np.abs(y_test - mean) < 1.645 * deviation
print(
    f"R² {model.score(X_test, y_test):.2f}; {inside.mean():.0%} lie in the 90% interval", end=", "
)
print(f"deviations from {deviation.min():.0f} to {deviation.max():.0f}")
assert 0.8 < inside.mean() < 0.98

# %%
# What to take along
# ------------------
#
# - A prediction without its doubt is half a prediction. Check intervals on new data: do they hold
#   what they should?
# - Scatter in the data: ``gaussian_nll`` or `Quantile <skmlp.losses.Quantile>`. Too little data:
#   several networks.
# - Scale the target, too.
#
# **Try**
#
# 1. Make a few prices ten times too high by mistake, and compare ``loss="absolute_error"`` with the
#    squared error.
# 2. Use ``loss="gaussian_nll"`` together with ``n_estimators=8``: deviations then hold both doubts.
# 3. Forbid that prices fall with the area: ``monotonic_cst=[1, 0, 0]``, with
#    ``activation="softplus"``, for it takes one that never falls.
#
# Next: many networks at once, and large machines, in
# :ref:`sphx_glr_gallery_course_plot_14_many_fits.py`.
