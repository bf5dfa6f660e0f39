r"""
14. Many fits, and a GPU
========================

One network is seldom enough: searches, cross-validation and ensembles fit hundreds. This page fits
many at once on the cores of this machine, and asks whether there is a GPU.
"""

import time

import joblib
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_validate, train_test_split

import skmlp
from skmlp import MLPClassifier

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

X, y = load_digits(return_X_y=True)
X = X / 16

# %%
# Side by side
# ------------
#
# Everything of scikit-learn that uses joblib runs its fits side by side within this block. They are
# threads of one process: nothing is copied, and results are the same to the last bit, however many
# there are.
model = MLPClassifier((20,), learning_rate_init=0.02, tol=1e-3, max_iter=300, random_state=0)
seconds = {}
began = time.perf_counter()
alone = cross_validate(model, X, y, cv=8)
seconds["one after the other"] = time.perf_counter() - began
with joblib.parallel_config("skmlp"):
    began = time.perf_counter()
    together = cross_validate(model, X, y, cv=8)
    seconds["side by side"] = time.perf_counter() - began
assert np.array_equal(alone["test_score"], together["test_score"])
print(f"8 fits on {joblib.cpu_count()} cores:", {k: f"{v:.2f} s" for k, v in seconds.items()})
print(f"accuracies, the same in both: {together['test_score'].round(3)}")

# %%
# What a single fit does not tell
# -------------------------------
#
# With many fits there is a spread. Each dot is a network from another start; the ensemble of all of
# them predicts the mean of their probabilities. ``n_estimators`` trains them in one run.
X_train, X_test, y_train, y_test = train_test_split(
    X, y, train_size=400, random_state=0, stratify=y
)
ensemble = MLPClassifier((20,), learning_rate_init=0.02, tol=1e-3, max_iter=300, random_state=0)
ensemble.set_params(n_estimators=16).fit(X_train, y_train)
single = np.array([member.score(X_test, y_test) for member in ensemble.estimators_])
whole = ensemble.score(X_test, y_test)
print(f"single networks {single.min():.3f} to {single.max():.3f}, together {whole:.3f}")
assert whole > np.median(single)

figure, axes = plt.subplots(figsize=(6.4, 2.2), layout="constrained")
axes.scatter(single, np.zeros(len(single)), color=BLUE, alpha=0.7, label="each of 16 networks")
axes.axvline(whole, color=ORANGE, label="all of them together")
axes.set(xlabel="accuracy on other digits", yticks=[], ylim=(-1, 2))
axes.legend(frameon=False, loc="upper left", ncols=2)
plt.show()

# %%
# Is there a GPU?
# ---------------
#
# `show_devices <skmlp.show_devices>` says what was found, and what is missing if a GPU cannot be
# used. The machine that has built this page may have none; then it says so.
skmlp.show_devices()

# %%
# ``device="cuda"`` asks for a GPU and is an error without one: no fit goes to the CPU silently.
# ``device="auto"`` takes it where there is one and where the work pays for its start. ``device_``
# and ``device_reason_`` tell what was decided.
model = MLPClassifier((20,), device="auto", learning_rate_init=0.02, tol=1e-3, random_state=0)
model.fit(X_train, y_train)
print(f"fitted on {model.device_}: {model.device_reason_}")

# %%
# Single precision
# ----------------
#
# Sooner than a GPU there is something else to try: ``dtype="float32"``, half the digits. Weights
# need no more, and predictions hardly change.
exact = MLPClassifier((20,), learning_rate_init=0.02, tol=1e-3, random_state=0).fit(
    X_train, y_train
)
short = MLPClassifier((20,), learning_rate_init=0.02, tol=1e-3, random_state=0, dtype="float32")
short.fit(X_train, y_train)
same = (exact.predict(X_test) == short.predict(X_test)).mean()
print(f"{short.coefs_[0].dtype} and {exact.coefs_[0].dtype} agree on {same:.1%} of the digits")
assert short.coefs_[0].dtype == np.float32
assert same > 0.97

# %%
# What to take along
# ------------------
#
# - One line, ``with joblib.parallel_config("skmlp")``, runs fits side by side, with the same
#   results.
# - Fits from other starts differ: look at several before you believe a difference.
# - Small networks on small data are quick on any CPU; a GPU is for large ones.
#
# **Try**
#
# 1. Run the cross-validation with ``joblib.parallel_config("loky")``, which starts processes. Which
#    is quicker here?
# 2. How does the accuracy of an ensemble grow with ``n_estimators``?
# 3. Ask for ``device="cuda"``. What does the answer say?
#
# Next: tables with words and gaps, in :ref:`sphx_glr_gallery_course_plot_15_tables.py`.
