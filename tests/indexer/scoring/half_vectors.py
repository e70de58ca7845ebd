"""Vectors in half precision, and their cosines by exact arithmetic, for the tests of the join."""

import math

import numpy as np


def half_units(seed, n_rows, dimension, *, zeros=0):
    """Draw unit vectors as float16, the last `zeros` of them zero."""
    vectors = np.random.default_rng(seed).normal(size=(n_rows, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[n_rows - zeros :] = 0
    return vectors.astype(np.float16)


def few_directions(seed, n_rows):
    """Draw from few directions of a cube, zero among them: many are equal or equally far."""
    vectors = np.random.default_rng(seed).integers(-1, 2, (n_rows, 3)).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(lengths, 1)).astype(np.float16)


def clustered_halves(seed, n_rows, dimension=24, *, spread=0.3, n_clusters=20):
    """Draw unit vectors around centres; with a spread of .3 their cosines are about .9."""
    generator = np.random.default_rng(seed)
    centres = half_units(seed, n_clusters, dimension).astype(np.float64)
    noise = generator.normal(size=(n_rows, dimension)) * spread / math.sqrt(dimension)
    vectors = centres[generator.integers(n_clusters, size=n_rows)] + noise
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float16)


def slow_cosine(left, right):
    """Return the cosine from sums that are rounded once; 0 if a vector is zero."""

    def dot(a, b):
        return math.fsum(x * y for x, y in zip(a.tolist(), b.tolist(), strict=True))

    squares = dot(left, left) * dot(right, right)
    return dot(left, right) / math.sqrt(squares) if squares else 0.0
