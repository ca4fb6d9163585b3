r"""Power spectra against wavenumber by Welch's averaged periodograms, with errors.

Convention for a stationary series x(t) and :math:`\omega = 2\pi c\tilde\nu`: S is one-sided and
per wavenumber,

.. math:: \int_0^\infty S(\tilde\nu) d\tilde\nu = <x^2>, \qquad
          S(\tilde\nu) = 2 c \int_{-\infty}^{\infty} <x(0) x(t)> e^{-i\omega t} dt,

so its unit is that of x squared times cm. The mean is not subtracted.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import fft, signal

from jles.analysis.estimators.units import WAVENUMBER
from jles.errors import InputError

WINDOW = "hann"


_FULL_WIDTH = 1.44
"""Full width at half maximum of the squared transform of a Hann window, in 1/length."""


class Spectrum(NamedTuple):
    """A density per wavenumber and its standard error."""

    wavenumber: Float[np.ndarray, " points"]
    """cm^-1"""
    mean: Float[np.ndarray, " points"]
    error: Float[np.ndarray, " points"]
    """NaN where there is one segment."""

    def scaled(self, factor) -> "Spectrum":
        """The spectrum times a number or a function of the wavenumber."""
        return Spectrum(self.wavenumber, self.mean * factor, self.error * factor)

    def below(self, highest: float) -> "Spectrum":
        """The part up to a wavenumber, cm^-1."""
        inside = self.wavenumber <= highest
        return Spectrum(*(part[inside] for part in self))


class Segments(NamedTuple):
    """Periodograms of the segments of one or more series."""

    wavenumber: Float[np.ndarray, " points"]
    power: Float[np.ndarray, "segments channels points"]
    length: int
    """Frames per segment."""


def segment_length(resolution: float, interval: float, frames: int, where: str = "run") -> int:
    """Frames per segment that resolve lines `resolution` (cm^-1) apart.

    Raises:
        InputError: the run is shorter than that; the message gives its finest resolution.
    """
    if not resolution > 0.0:
        raise InputError(f"--resolution must be positive (cm^-1), got {resolution}")
    length = round(_FULL_WIDTH * WAVENUMBER / (resolution * interval))
    if length > frames:
        finest = _FULL_WIDTH * WAVENUMBER / (frames * interval)
        raise InputError(
            f"{where}: {frames} frames of {interval:g} fs are too short for a resolution of "
            f"{resolution:g} cm^-1; run longer or take --resolution {1.01 * finest:.3g}"
        )
    if length < 8:
        raise InputError(
            f"{where}: one frame in {interval:g} fs is too seldom for a resolution of "
            f"{resolution:g} cm^-1; record more often or take a smaller --resolution"
        )
    return length


def periodograms(
    series: Float[np.ndarray, "frames channels"], interval: float, length: int
) -> Segments:
    """Spectra of segments of `length` frames: Hann window, half overlap, zero-padded to twice.

    The trapezoidal sum over the points is the windowed mean square of the segment
    (Welch, IEEE Trans. Audio Electroacoust. 15, 70 (1967)).

    Args:
        series: real series; every channel is transformed on its own.
        interval: time between frames, fs.
        length: frames per segment, from `segment_length`.
    """
    frequency, _, power = signal.spectrogram(
        series.T,
        fs=1.0 / interval,
        window=WINDOW,
        nperseg=length,
        noverlap=length // 2,
        nfft=2 * fft.next_fast_len(length, real=True),
        detrend=False,
        scaling="density",
        mode="psd",
    )
    # SciPy halves the one-sided density at both ends, which have no negative counterpart.
    power[:, [0, -1]] *= 2.0
    return Segments(WAVENUMBER * frequency, np.moveaxis(power, -1, 0) / WAVENUMBER, length)


def derivative_periodograms(
    series: Float[np.ndarray, "frames channels"], interval: float, length: int
) -> Segments:
    r"""Spectra of the time derivative (per fs) of a sampled series.

    The spectrum of finite differences is that of the series times
    :math:`(2/\Delta)^2 \sin^2(\omega\Delta/2)`, where the derivative has :math:`\omega^2`; the
    result is corrected by the ratio.
    """
    found = periodograms(np.diff(series, axis=0) / interval, interval, length)
    half_phase = np.pi * interval * found.wavenumber / WAVENUMBER
    # sinc(x) of NumPy is sin(pi x)/(pi x).
    return found._replace(power=found.power / np.sinc(half_phase / np.pi) ** 2)


def pool(parts: Sequence[Segments]) -> Segments:
    """The segments of several runs together."""
    return parts[0]._replace(power=np.concatenate([part.power for part in parts]))


def average(segments: Segments, power: Float[np.ndarray, "segments points"]) -> Spectrum:
    """Mean over segments and its standard error.

    Args:
        segments: where `power` comes from.
        power: a linear combination of its channels.
    """
    count = len(power)
    mean = np.mean(power, axis=0)
    if count < 2:
        return Spectrum(segments.wavenumber, mean, np.full_like(mean, np.nan))
    spread = np.std(power, axis=0, ddof=1) / np.sqrt(count)
    return Spectrum(segments.wavenumber, mean, spread * overlap_factor(segments.length, count))


def overlap_factor(length: int, count: int) -> float:
    r"""Factor by which overlap of half a segment increases the error of the mean.

    Neighbouring periodograms have the correlation
    :math:`\rho = (\sum_t w_t w_{t+L/2} / \sum_t w_t^2)^2`
    (Welch 1967, eq. for the variance), 1/36 for a Hann window:
    :math:`\sqrt{1 + 2\rho(1 - 1/K)}` for K segments.
    """
    window = signal.get_window(WINDOW, length)
    step = length - length // 2
    rho = (np.dot(window[:-step], window[step:]) / np.dot(window, window)) ** 2
    return float(np.sqrt(1.0 + 2.0 * rho * (1.0 - 1.0 / count)))


def integral(spectrum: Spectrum) -> float:
    """Over all wavenumbers: the mean square of the series."""
    return float(np.trapezoid(spectrum.mean, spectrum.wavenumber))
