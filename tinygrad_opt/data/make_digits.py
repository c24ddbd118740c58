"""Makes `digits.npy`, split and all, out of scikit-learn's digits: the same bytes on every machine.

    python -m tinygrad_opt.data.make_digits        (needs scikit-learn)

Neither a random generator nor a compressor takes part: the streams of the one change with NumPy's
versions, the bytes of the other with the zlib at hand. Rows are shuffled by the SHA-256 of their
number, and a pixel, 0 to 16, takes five bits.
"""

from hashlib import sha256
from io import BytesIO
from pathlib import Path

import numpy as np

from tinygrad_opt.data.digits import FILE, N_TRAIN


def build() -> bytes:
    """The content of `digits.npy`: uint8 (1797, 41), the training rows first, then the test rows.

    A row is its label and 40 bytes: its 64 pixels, five bits each, the highest bit first.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    shuffled = sorted(range(len(labels)), key=lambda row: sha256(b"%d" % row).digest())
    rows = train_first(np.array(shuffled), labels)

    bits = np.unpackbits(pixels[rows].astype(np.uint8)[:, :, None], axis=2)[:, :, 3:]
    packed = np.packbits(bits.reshape(len(rows), -1), axis=1)
    file = BytesIO()
    np.save(file, np.column_stack([labels[rows].astype(np.uint8), packed]), allow_pickle=False)
    return file.getvalue()


def train_first(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`rows`, those of the training set first: the test set takes the first few rows of each class.

    How many is the class's share of the test set, rounded by largest remainder (a tie goes to the
    lower class), so that the shares add up.
    """
    n_test = len(rows) - N_TRAIN
    share, remainder = np.divmod(np.bincount(labels) * n_test, len(rows))
    share[np.argsort(-remainder, kind="stable")[: n_test - share.sum()]] += 1

    test = np.zeros(len(rows), dtype=bool)
    for label, count in enumerate(share):
        test[np.flatnonzero(labels[rows] == label)[:count]] = True
    return np.concatenate([rows[~test], rows[test]])


def main() -> None:
    content = build()
    Path(__file__).with_name(FILE).write_bytes(content)
    print(f"{FILE}: {len(content):,} bytes, SHA256 = {sha256(content).hexdigest()!r}")


if __name__ == "__main__":
    main()
