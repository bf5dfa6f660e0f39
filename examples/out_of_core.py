"""
Learning from a file larger than memory
=======================================

With ``partial_fit``. Noisy copies of scikit-learn's digits are written to disk and memory-mapped;
the network sees one chunk of rows at a time.
"""

import tempfile
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skmlp import MLPClassifier

N_ROWS = 200_000
CHUNK = 10_000


def write_noisy_copies(folder, X, y, generator):
    """Write N_ROWS noisy float32 copies of rows of X, and their labels, chunk by chunk."""
    paths = folder / "X.npy", folder / "y.npy"
    X_file = np.lib.format.open_memmap(paths[0], "w+", np.float32, (N_ROWS, X.shape[1]))
    y_file = np.lib.format.open_memmap(paths[1], "w+", y.dtype, (N_ROWS,))
    for start in range(0, N_ROWS, CHUNK):
        rows = generator.integers(0, len(X), CHUNK)
        noise = generator.normal(0, 0.3, (CHUNK, X.shape[1]))
        X_file[start : start + CHUNK] = X[rows] + noise
        y_file[start : start + CHUNK] = y[rows]
    X_file.flush()
    y_file.flush()
    return paths


def main():
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, stratify=y, random_state=0)
    with tempfile.TemporaryDirectory() as folder:
        generator = np.random.default_rng(0)
        X_path, y_path = write_noisy_copies(Path(folder), X_train, y_train, generator)
        X_map = np.load(X_path, mmap_mode="r")
        y_map = np.load(y_path, mmap_mode="r")
        print(f"{N_ROWS} rows on disk, {X_map.nbytes / 2**20:.0f} MiB; {CHUNK} rows at a time")

        model = MLPClassifier((100,), random_state=0)
        for start in range(0, N_ROWS, CHUNK):
            chunk = slice(start, start + CHUNK)
            model.partial_fit(X_map[chunk], y_map[chunk], classes=np.unique(y))
            if (start // CHUNK) % 4 == 3:
                accuracy = model.score(X_test, y_test)
                print(f"  {start + CHUNK:>7} rows seen, test accuracy {accuracy:.3f}", flush=True)
        # On Windows a mapped file cannot be deleted.
        del X_map, y_map


if __name__ == "__main__":
    main()
