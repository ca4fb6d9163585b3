"""Time-correlation functions by fast Fourier transform."""

import numpy as np
from jaxtyping import Float
from scipy import fft


def autocorrelation(
    series: Float[np.ndarray, "frames channels"], lags: int
) -> Float[np.ndarray, " lags"]:
    r"""Autocorrelation summed over channels, at lags 0 ... lags - 1.

    .. math:: C_k = \frac{1}{n-k} \sum_{t=0}^{n-k-1} x_t \cdot x_{t+k}

    The mean is not taken off; every lag is divided by its own number of pairs (unbiased).
    """
    frames = len(series)
    size = fft.next_fast_len(frames + lags, real=True)
    power = np.sum(np.abs(fft.rfft(series, size, axis=0)) ** 2, axis=1)
    return fft.irfft(power, size)[:lags] / (frames - np.arange(lags))


def noise_of_correlation(correlation: Float[np.ndarray, " lags"], frames: int, channels: int):
    r"""Standard deviation of the estimate of a correlation that has died out.

    Bartlett's formula for a Gaussian process whose `channels` are alike and independent:

    .. math:: s^2 = \frac{1}{n c} \sum_{k=-\infty}^{\infty} C_k^2

    with n frames and c channels, C summed over channels (Bartlett, J. R. Stat. Soc. Suppl. 8, 27
    (1946)).
    """
    squares = correlation[0] ** 2 + 2.0 * np.sum(correlation[1:] ** 2)
    return np.sqrt(squares / (frames * channels))


def lag_of_silence(correlation: Float[np.ndarray, " lags"], frames: int, channels: int) -> int:
    """Lag 2k at the end of the first stretch k ... 2k in which the correlation is mere noise.

    The mean square over the stretch is compared with twice Bartlett's variance: the stretch
    grows with k, so a correlation that oscillates is not mistaken for one that has died out;
    its end is taken, since what is hidden in the noise at k still counts in an integral.
    All the lags if it never falls silent.
    """
    longest = (len(correlation) - 1) // 2
    # The squared tail of noise itself adds up; the sum is stopped where the search is.
    noise = noise_of_correlation(correlation[: longest + 1], frames, channels)
    total = np.concatenate([[0.0], np.cumsum(correlation**2)])
    lags = np.arange(1, longest + 1)
    mean_square = (total[2 * lags + 1] - total[lags]) / (lags + 1)
    silent = np.flatnonzero(mean_square <= 2.0 * noise**2)
    return 2 * int(lags[silent[0]]) if len(silent) else len(correlation) - 1
