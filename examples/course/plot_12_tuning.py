r"""
12. Tuning in a pipeline
========================

How many layers, how many neurons, which activation, solver and learning rate? Nobody knows
beforehand: try them. scikit-learn's `sklearn.model_selection.GridSearchCV` does the bookkeeping,
and a pipeline sees to it that no trial peeks at data that it is judged by.
"""

import joblib
import matplotlib.pyplot as plt
from scipy.stats import loguniform
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skmlp import MLPClassifier
from skmlp.inspection import SearchDisplay

X, y = load_breast_cancer(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)

# %%
# The pipeline
# ------------
#
# The scaler belongs inside: then each fit of the search learns means and deviations from its own
# training samples only. Early stopping ends each fit by itself.
network = MLPClassifier(early_stopping=True, n_iter_no_change=15, max_iter=1000, random_state=0)
pipeline = make_pipeline(StandardScaler(), network)

# %%
# The grid
# --------
#
# A parameter of a step is written with its name and two underscores. Two sizes, one and two layers,
# two activations, two solvers, two learning rates: all combinations are tried, each on three
# splits. The block ``joblib.parallel_config("skmlp")`` runs them side by side.
grid = {
    "mlpclassifier__hidden_layer_sizes": [(8,), (32,), (8, 8), (32, 32)],
    "mlpclassifier__activation": ["relu", "tanh"],
    "mlpclassifier__solver": ["adam", "sgd"],
    "mlpclassifier__learning_rate_init": [0.003, 0.03],
}
search = GridSearchCV(pipeline, grid, cv=3)
with joblib.parallel_config("skmlp"):
    search.fit(X_train, y_train)
n_candidates = len(search.cv_results_["params"])
print(f"{n_candidates} candidates, {3 * n_candidates} fits")
for name, value in search.best_params_.items():
    print(f"    {name.removeprefix('mlpclassifier__'):20} {value}")
print(f"accuracy {search.best_score_:.3f} in the search", end=", ")
print(f"{search.score(X_test, y_test):.3f} on new data")
assert n_candidates == 32
assert search.score(X_test, y_test) > 0.93

# %%
# Looking at a search
# -------------------
#
# The best candidate alone says little: is it better, or was it lucky? `SearchDisplay
# <skmlp.inspection.SearchDisplay>` draws all of them. Bars are the standard deviation over the
# splits, the ring is the best one.
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained", sharey=True)
SearchDisplay.from_search(search, x="hidden_layer_sizes", hue="activation", ax=left)
SearchDisplay.from_search(search, x="solver", hue="learning_rate_init", ax=right)
left.set(xlabel="hidden layers", ylabel="accuracy (mean over splits)")
right.set(ylabel="")
right.get_legend().set_title("learning rate")
plt.show()

# %%
# Drawn at random
# ---------------
#
# For numbers on a scale a grid is wasteful. `sklearn.model_selection.RandomizedSearchCV` draws
# them, and each trial tells of another learning rate and another penalty.
drawn = {
    "mlpclassifier__learning_rate_init": loguniform(1e-4, 1e-1),
    "mlpclassifier__alpha": loguniform(1e-5, 1e1),
}
pipeline.set_params(mlpclassifier__hidden_layer_sizes=(16,))
random_search = RandomizedSearchCV(pipeline, drawn, n_iter=25, cv=3, random_state=0)
with joblib.parallel_config("skmlp"):
    random_search.fit(X_train, y_train)
display = SearchDisplay.from_search(random_search, x="learning_rate_init")
display.ax_.set(xlabel="learning rate", ylabel="accuracy (mean over splits)")
plt.show()

# %%
# Is it worth it?
# ---------------
#
# Ask the simplest network, too: the one without hidden layers.
simple = make_pipeline(StandardScaler(), LogisticRegression()).fit(X_train, y_train)
print(f"logistic regression {simple.score(X_test, y_test):.3f}", end=", ")
print(f"tuned network {search.score(X_test, y_test):.3f} on {len(y_test)} tumors")
difference = abs(simple.score(X_test, y_test) - search.score(X_test, y_test)) * len(y_test)
print(f"the difference is {difference:.0f} of them")

# %%
# What to take along
# ------------------
#
# - Put all that learns into one pipeline and search over that.
# - Look at all candidates: where bars overlap, take the simpler network.
# - Judge the winner by data that the search has not seen, beside a simple model.
#
# **Try**
#
# 1. Add ``"mlpclassifier__dropout": [0.0, 0.3]`` to the grid.
# 2. Search with ``scoring="roc_auc"``. Is the winner the same?
# 3. Watch two scores, ``scoring=["accuracy", "roc_auc"]`` with ``refit="accuracy"``, and draw the
#    second one: ``SearchDisplay.from_search(search, metric="roc_auc")``.
#
# Next: not classes but amounts, and how sure they are, in
# :ref:`sphx_glr_gallery_course_plot_13_house_prices.py`.
