"""Time-correlation functions by fast Fourier transform."""

import numpy as np
from jaxtyping import Float
from scipy import fft


def autocorrelation(
    series: Float[np.ndarray, "frames channels"], lags: int
) -> Float[np.ndarray, " lags"]:
    r"""Autocorrelation summed over channels, at lags 0 ... lags - 1.

    .. math:: C_k = \frac{1}{n-k} \sum_{t=0}^{n-k-1} x_t \cdot x_{t+k}

    The mean is not subtracted. Every lag is divided by its own number of pairs (unbiased).
    """
    frames = len(series)
    size = fft.next_fast_len(frames + lags, real=True)
    power = np.sum(np.abs(fft.rfft(series, size, axis=0)) ** 2, axis=1)
    return fft.irfft(power, size)[:lags] / (frames - np.arange(lags))


def noise_of_correlation(correlation: Float[np.ndarray, " lags"], frames: int, channels: int):
    r"""Standard deviation of the estimated correlation at lags where the true one is zero.

    Bartlett's formula for a Gaussian process of independent, equivalent `channels`:

    .. math:: s^2 = \frac{1}{n c} \sum_{k=-\infty}^{\infty} C_k^2

    with n frames, c channels and C summed over channels (Bartlett, J. R. Stat. Soc. Suppl. 8,
    27 (1946)).
    """
    squares = correlation[0] ** 2 + 2.0 * np.sum(correlation[1:] ** 2)
    return np.sqrt(squares / (frames * channels))


def lag_of_silence(correlation: Float[np.ndarray, " lags"], frames: int, channels: int) -> int:
    """Lag 2k at the end of the first interval k ... 2k in which the correlation is only noise.

    The mean square over the interval is compared with twice Bartlett's variance. The interval
    grows with k, so a zero of an oscillating correlation is not mistaken for its decay. The end
    of the interval is returned because a tail hidden in the noise at k still adds to an
    integral. The last lag is returned if the correlation never decays.
    """
    longest = (len(correlation) - 1) // 2
    # Squared noise in the tail adds up, so the sum stops at the longest lag searched.
    noise = noise_of_correlation(correlation[: longest + 1], frames, channels)
    total = np.concatenate([[0.0], np.cumsum(correlation**2)])
    lags = np.arange(1, longest + 1)
    mean_square = (total[2 * lags + 1] - total[lags]) / (lags + 1)
    silent = np.flatnonzero(mean_square <= 2.0 * noise**2)
    return 2 * int(lags[silent[0]]) if len(silent) else len(correlation) - 1
