"""1,797 real handwritten digits travel inside the package: no download, and one split for everyone.

They are the 8x8 images of Alpaydin and Kaynak (1998), as scikit-learn ships them. Source, licence
(CC BY 4.0) and changes stand in `digits.LICENSE.md`; `make_digits.py` made the file.
"""

import hashlib
import io

import numpy as np

FILE = "digits.npy"
SHA256 = "b31b00fd390466a82336f0e5bb485a3f500a82265a37eba823e794e59dbbd4cf"
N_TRAIN = 1437


def load_digits() -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Handwritten digits, 8x8 pixels: `(x_train, y_train), (x_test, y_test)`.

    Returns:
        1,437 training and 360 test pairs, every class in proportion, always the same ones: images
        float32 (n, 64), row by row, in sixteenths from 0 (paper) to 1 (ink); labels int64 (n,),
        from 0 to 9. Every call makes new arrays, on the host.

    Raises:
        ValueError: the embedded file is damaged (its SHA-256 does not match).

    Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits" (1998), UCI
    Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.
    """
    from importlib import resources

    content = resources.files(__package__).joinpath(FILE).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256:
        raise ValueError(
            f"load_digits: {FILE} is damaged ({len(content):,} bytes, sha256 {digest} instead of "
            f"{SHA256}): install tinygrad-opt again"
        )
    rows = np.load(io.BytesIO(content), allow_pickle=False)
    labels = rows[:, 0].astype(np.int64)
    bits = np.unpackbits(rows[:, 1:], axis=1).reshape(len(rows), 64, 5)
    images = bits @ np.array([1, 1 / 2, 1 / 4, 1 / 8, 1 / 16], dtype=np.float32)
    return (images[:N_TRAIN], labels[:N_TRAIN]), (images[N_TRAIN:], labels[N_TRAIN:])
