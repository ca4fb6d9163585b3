"""Errors of predictions."""

import numpy as np


def statistics(reference: np.ndarray, predicted: np.ndarray) -> dict[str, float | int | None]:
    """MAE, RMSE and R² (null where all references are equal) of `count` numbers."""
    error = predicted - reference
    spread = np.sum((reference - np.mean(reference)) ** 2)
    return {
        "count": int(error.size),
        "mae": float(np.mean(np.abs(error))),
        "rmse": float(np.sqrt(np.mean(error**2))),
        "r2": float(1.0 - np.sum(error**2) / spread) if spread > 0.0 else None,
    }
