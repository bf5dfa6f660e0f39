r"""
15. Tables as they come
=======================

Real tables have words, gaps and numbers on every scale. `TabularMLPClassifier
<skmlp.TabularMLPClassifier>` takes a data frame as it is, trains several unlike networks on it, and
chooses an ensemble of them. There is nothing to tune.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.inspection import permutation_importance
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from skmlp import TableEncoder, TabularMLPClassifier
from skmlp.inspection import LossCurveDisplay

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

# %%
# A table
# -------
#
# Guests of a made-up hotel: will they come again? Some have not told their age.
rng = np.random.default_rng(0)
n = 1200
guests = pd.DataFrame(
    {
        "age": rng.integers(18, 85, n).astype(float),
        "nights": rng.integers(1, 15, n),
        "paid": rng.lognormal(6, 0.6, n).round(),
        "country": rng.choice(["Austria", "Chile", "Ghana", "Japan", "Norway"], n),
        "with children": rng.random(n) < 0.3,
    }
)
likes = 1.5 * (guests["country"].isin(["Chile", "Japan"]) ^ guests["with children"])
likes += np.sin(guests["age"] / 12) - guests["paid"] / guests["nights"] / 200
comes_again = np.where(likes + 0.4 * rng.normal(size=n) > 0.1, "yes", "no")
guests.loc[rng.random(n) < 0.15, "age"] = np.nan
print(guests.head())
train, test, y_train, y_test = train_test_split(guests, comes_again, random_state=0)

# %%
# What a network is given
# -----------------------
#
# Networks take numbers. `TableEncoder <skmlp.TableEncoder>` makes them: words become a column for
# each of them, gaps become an indicator, and numbers come to one scale. The estimators for tables
# do that by themselves.
encoder = TableEncoder().fit(train)
print(f"{guests.shape[1]} columns become {len(encoder.get_feature_names_out())}:")
print(", ".join(encoder.get_feature_names_out()))

# %%
# One line
# --------
model = TabularMLPClassifier(n_members=8, max_iter=40, random_state=0).fit(train, y_train)
print(f"accuracy {model.score(test, y_test):.3f} on {len(test)} new guests")
print(pd.DataFrame(model.predict_proba(test.head(3)), columns=model.classes_).round(2))

# %%
# Beside it stands what one would write by hand: fill gaps, encode words, scale, and a linear model.
by_hand = make_pipeline(
    make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["country", "with children"]),
        remainder=make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()),
    ),
    LogisticRegression(),
).fit(train, y_train)
print(f"linear model by hand {by_hand.score(test, y_test):.3f}")
assert model.score(test, y_test) > by_hand.score(test, y_test)

# %%
# The linear model cannot know that children matter in one way for guests of some countries and in
# the other way for the rest: that is exclusive or, again.
#
# How the ensemble grew
# ---------------------
#
# In each round the networks train on, and the ensemble is chosen anew by rows that were held out.
LossCurveDisplay.from_estimator(model)
plt.show()

# %%
# Which columns matter?
# ---------------------
#
# Shuffle one column after the other and see how much of the accuracy is lost.
found = permutation_importance(model, test, y_test, n_repeats=5, random_state=0)
order = np.argsort(found.importances_mean)
figure, axes = plt.subplots(figsize=(5.8, 2.8), layout="constrained")
axes.barh(
    test.columns[order],
    found.importances_mean[order],
    xerr=found.importances_std[order],
    color=BLUE,
    ecolor=GREY,
)
axes.set(xlabel="accuracy lost when the column is shuffled")
plt.show()

# %%
# Words that nobody has seen
# --------------------------
#
# Later tables bring new words and new gaps. Both are allowed, and count as unknown.
later = test.head(2).assign(country="Atlantis", age=np.nan)
print(model.predict(later))

# %%
# What to take along
# ------------------
#
# - Give the table as it is: words as words, gaps as gaps.
# - What is scaled or filled is learned from training rows only; here the estimator sees to it.
# - Compare with a simple model, and ask which columns matter.
#
# **Try**
#
# 1. Add a column of random words. What does the accuracy say, and the importance?
# 2. Hide half of the ages. What becomes of the accuracy?
# 3. Predict ``paid`` by `TabularMLPRegressor <skmlp.TabularMLPRegressor>`.
#
# Next: taking a network elsewhere, in :ref:`sphx_glr_gallery_course_plot_16_export.py`.
