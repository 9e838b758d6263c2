"""Small encoders and representations, and a k-NN that transcribes the paper's."""

import keras
import numpy as np


def mean_encoder(size=8):
    """The pixels, pooled to 2 x 2."""
    images = keras.Input((size, size, 3))
    pooled = keras.layers.AveragePooling2D(size // 2)(images)
    return keras.Model(images, keras.layers.Flatten()(pooled))


def clusters(seed, count, *, num_classes=4, length=12, noise=1.0):
    """Representations (count, length) float32 about a centre of each class, labels."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(num_classes, length))
    labels = random.integers(0, num_classes, count)
    features = centres[labels] + noise * random.normal(size=(count, length))
    return features.astype(np.float32), labels.astype(np.int64)


def literal_knn(bank, labels, queries, k, temperature, num_classes):
    """Wu et al. 2018, section 3.4, one query after the other, in float64."""
    scores = np.zeros((len(queries), num_classes))
    for q, query in enumerate(queries.astype(np.float64)):
        similarity = []
        for image in bank.astype(np.float64):
            lengths = np.linalg.norm(query) * np.linalg.norm(image)
            similarity.append(float(query @ image) / lengths)
        # Python's sort is stable: of equals, those first in the bank come first.
        order = sorted(range(len(bank)), key=lambda n: -similarity[n])
        for n in order[:k]:
            scores[q, labels[n]] += np.exp(similarity[n] / temperature)
        scores[q] /= scores[q].sum()
    return scores
