"""A run of the playground, recorded when the site is built, for who has not installed it.

The page draws it with the scripts of the playground itself.
"""

import base64
import json
import re
import warnings
from pathlib import Path

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skmlp import playground
from skmlp.callbacks import FunctionCallback
from skmlp.playground.pictures import View
from skmlp.playground.settings import Settings, make_network, split_data

SETTINGS = Settings(
    data="spirals",
    noise=0.05,
    seed=2,
    hidden_layer_sizes=(8, 6),
    learning_rate_init=0.02,
    batch_size=20,
)
LAST_EPOCH, N_PICTURES = 300, 40
# In the order in which they need each other.
SCRIPTS = ("colors", "surface", "network", "curves", "connection")
HERE = Path(__file__).parent
STATIC = Path(playground.__file__).parent / "static"


def record(settings, last_epoch, n_pictures):
    """Train, and return frames: the data, then pictures, which lie closer in the beginning."""
    data = split_data(settings, None)
    view = View(data)
    shown = np.unique(np.geomspace(1, last_epoch, 2 * n_pictures).round().astype(int))
    shown = set(shown[np.linspace(0, len(shown) - 1, n_pictures).round().astype(int)].tolist())
    frames, curve = [view.described(1)], []

    def look(epoch):
        if epoch.number in shown:
            network = epoch.model()
            measures = view.measures(network)
            curve.append([epoch.number, measures["train_loss"], measures["test_loss"]])
            header = {"epoch": epoch.number, "curve": curve, **measures}
            frames.append(view.picture(network, header))

    network = make_network(settings, data, last_epoch)
    network.set_callbacks(FunctionCallback(look))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit(view.train, data.y_train)
    return frames


def as_one_script(texts):
    """Return modules as one script: a page that is opened from a disk can load no modules."""
    plain = [re.sub(r"^(import .*\n|export )", "", text, flags=re.M) for text in texts]
    return "(() => {\n" + "\n".join(plain) + "})();\n"


def script():
    """Return the script of the recorded run, with what it shows."""
    texts = [(STATIC / f"{name}.js").read_text("utf-8") for name in SCRIPTS]
    frames = record(SETTINGS, LAST_EPOCH, N_PICTURES)
    recorded = json.dumps([base64.b64encode(frame).decode() for frame in frames])
    texts.append(f"const RECORDED = {recorded};\n")
    texts.append((HERE / "recorded_run.js").read_text("utf-8"))
    return as_one_script(texts)


def colors():
    """Return the playground's colors as a style sheet, for the themes of the site."""
    rules = re.findall(r":root\{([^}]*)\}", (STATIC / "style.css").read_text("utf-8"))
    return "".join(
        f'html[data-theme="{theme}"] {{{";".join(re.findall("--[^;]*", rule))}}}\n'
        for theme, rule in zip(("light", "dark"), rules, strict=True)
    )


def write(app, error):
    """Write the script and its colors beside the others of the site."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir) / "_static"
        (folder / "recorded-run.js").write_text(script(), "utf-8")
        (folder / "recorded-run.css").write_text(colors(), "utf-8")


def setup(app):
    """Register with Sphinx: before links are checked."""
    app.connect("build-finished", write, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
