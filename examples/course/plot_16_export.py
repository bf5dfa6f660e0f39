r"""
16. Taking a network elsewhere
==============================

A fitted network is a few matrices. So it can be written to a file, computed by another program, or
by fifteen lines of NumPy. Whichever way it goes, we check that it still says the same.
"""

import importlib.util
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

import skmlp
from skmlp import MLPClassifier
from skmlp.inspection import NetworkDisplay

BLUE, ORANGE, GREY = "#3a7fb8", "#e07b27", "#8a8f98"

iris = load_iris()
X, y = StandardScaler().fit_transform(iris.data), iris.target_names[iris.target]
model = MLPClassifier((6, 4), activation="tanh", solver="lbfgs", alpha=0.1, random_state=0)
model.set_params(max_iter=2000).fit(X, y)
probabilities = model.predict_proba(X)

NetworkDisplay.from_estimator(model, X[0], feature_names=iris.feature_names)
plt.show()
temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
# A file
# ------
#
# ``save`` writes a model to one file, `skmlp.load` makes an equal one of it. The file holds numbers
# and text but no program, so that it may come from a stranger; a pickle may not.
model.save(folder / "iris.safetensors")
loaded = skmlp.load(folder / "iris.safetensors")
assert np.array_equal(loaded.predict_proba(X), probabilities)
print(
    f"{(folder / 'iris.safetensors').stat().st_size} bytes; the same probabilities to the last bit"
)

# %%
# NumPy alone
# -----------
#
# Weights go into a file of NumPy's, and whoever has that needs nothing else: neither this package
# nor scikit-learn.
arrays = {f"W{k}": W for k, W in enumerate(model.coefs_)}
arrays |= {f"b{k}": b for k, b in enumerate(model.intercepts_)}
np.savez(folder / "iris.npz", classes=model.classes_, **arrays)


def predict_proba(file, X):
    """Return probabilities by NumPy alone: three products, two tanh and a softmax."""
    weights = np.load(file)
    h = np.tanh(X @ weights["W0"] + weights["b0"])
    h = np.tanh(h @ weights["W1"] + weights["b1"])
    z = h @ weights["W2"] + weights["b2"]
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return z / z.sum(axis=1, keepdims=True)


by_numpy = predict_proba(folder / "iris.npz", X)
errors = {"NumPy": np.abs(by_numpy - probabilities).max()}
print(f"by NumPy alone: at most {errors['NumPy']:.0e} off")
assert errors["NumPy"] < 1e-12

# %%
# ONNX
# ----
#
# ONNX is a format for networks that programs in many languages can run: browsers, telephones,
# servers. ``to_onnx`` needs ``pip install "skmlp[onnx]"``. Where it is missing, this page goes on
# without it.


def has(*packages):
    """Whether packages are installed here."""
    return all(importlib.util.find_spec(package) for package in packages)


if has("onnx", "onnxruntime"):
    import onnxruntime

    for dtype in ("float32", "float64"):
        exported = model.to_onnx(dtype=dtype).SerializeToString()
        session = onnxruntime.InferenceSession(exported)
        label, by_onnx = session.run(None, {"X": X.astype(dtype)})
        assert (label == model.predict(X)).all()
        errors[f"ONNX, {dtype}"] = np.abs(by_onnx - probabilities).max()
        print(f"ONNX in {dtype}: at most {errors[f'ONNX, {dtype}']:.0e} off, {len(exported)} bytes")
    assert errors["ONNX, float32"] < 1e-5
else:
    print('onnx and onnxruntime are not installed: pip install "skmlp[onnx]" onnxruntime')

# %%
# skops
# -----
#
# A whole pipeline, scaler and all, goes into a file of `skops <https://skops.readthedocs.io>`_. It
# loads only types that you trust, and `skmlp.TRUSTED_TYPES` names those of this package.
if has("skops"):
    import skops.io
    from sklearn.pipeline import make_pipeline

    pipeline = make_pipeline(StandardScaler(), model).fit(iris.data, y)
    content = skops.io.dumps(pipeline)
    again = skops.io.loads(content, trusted=skmlp.TRUSTED_TYPES)
    difference = np.abs(again.predict_proba(iris.data) - pipeline.predict_proba(iris.data)).max()
    assert difference == 0
    print(f"skops: {len(content)} bytes, difference {difference:.0f}")
else:
    print('skops is not installed: pip install "skmlp[skops]"')

# %%
# scikit-learn
# ------------
#
# A network that scikit-learn can express becomes one of its own.
theirs = model.to_sklearn()
errors["scikit-learn"] = np.abs(theirs.predict_proba(X) - probabilities).max()
print(
    f"{type(theirs).__module__}.{type(theirs).__name__}: at most {errors['scikit-learn']:.0e} off"
)
assert errors["scikit-learn"] < 1e-12

# %%
# All ways beside each other. What differs are the last digits: double precision has sixteen of
# them, single precision seven.
figure, axes = plt.subplots(figsize=(6.2, 2.4), layout="constrained")
names = list(errors)
sizes = np.maximum(list(errors.values()), 1e-17)
axes.hlines(names, 1e-17, sizes, color=GREY, linewidth=1)
axes.plot(sizes, names, "o", color=BLUE)
axes.set(xscale="log", xlim=(1e-17, 1e-4), xlabel="largest difference of a probability")
axes.invert_yaxis()
plt.show()
temporary.cleanup()

# %%
# What to take along
# ------------------
#
# - A network is its weights; whoever has them can compute it.
# - After each export compare predictions, and say how far they may differ.
# - Load no pickles of strangers.
#
# **Try**
#
# 1. Save the network with ``dtype="float32"``. How large is the file now?
# 2. Write ``predict_proba`` for a network of any depth, as on page 5.
# 3. Convert the pipeline to ONNX with skl2onnx and `skmlp.register_skl2onnx`.
#
# This is the last page. The first one is :ref:`sphx_glr_gallery_course_plot_01_neuron.py`; what
# else there is stands in the user guide.
