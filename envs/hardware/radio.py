"""Radio cells: path loss, Rayleigh fading by block, and a cell's rate shared by its users.

What is not plain arithmetic is tabulated once and quantised, so that kernels agree to the bit
between machines: the logarithm, and the quantiles of the exponential distribution.
"""

import math

import numpy as np
from numpy.typing import NDArray

from fleetgym.envs.core.jit import inner

Float64 = NDArray[np.float64]

BOLTZMANN_DBM_HZ = -174.0  # thermal noise density at 290 K
STEPS = 4096  # of the logarithm's table, over one octave
QUANTUM = 2.0**-40
# log2(1 + k / STEPS), k = 0 ... STEPS
LOG2 = np.rint(np.log2(1.0 + np.arange(STEPS + 1) / STEPS) / QUANTUM) * QUANTUM
FADES = 256
_RAW = -np.log1p(-(np.arange(FADES) + 0.5) / FADES)
# Rayleigh fading: the channel's power is exponential with mean 1; the middles of FADES quantiles.
FADE = np.rint(_RAW / _RAW.mean() / QUANTUM) * QUANTUM
LOW = 0x7FFFFFFF  # 31 bits: products of two such stay inside an int64


@inner
def log2_1p(x: float) -> float:
    """log2(1 + x) for x >= 0, within 2e-8: linear between entries of the table."""
    mantissa, exponent = math.frexp(1.0 + x)  # the mantissa lies in [0.5, 1)
    at = (2.0 * mantissa - 1.0) * STEPS
    k = int(at)
    low = LOG2[k]
    return float(exponent - 1 + low + (at - k) * (LOG2[k + 1] - low))


@inner
def shared_rate(bandwidth: float, users: int, snr: float) -> float:
    """Bits per ns of one of K users: (W / K) log2(1 + K snr) (std).

    Args:
        bandwidth: W of the cell, Hz.
        users: K, each with an equal part of the band, and so of the noise.
        snr: p h / (N0 W), of a user that had the whole band.
    """
    return bandwidth / users * log2_1p(snr * users) * 1e-9


@inner
def fade(seed: int, device: int, server: int, block: int) -> float:
    """The fading of a block: a hash of (seed, device, server, block) chooses the quantile."""
    value = int(seed) & LOW
    for part in (int(device), int(server), int(block)):
        value ^= 0x1E3779B9 * ((part + 1) & LOW)
        for _ in range(2):
            value ^= value >> 31
            value = (value & LOW) * 0x2545F491 + (value >> 31)
    return float(FADE[(value >> 20) & (FADES - 1)])


def path_gain(metres: Float64) -> Float64:
    """Mean power gain at a distance: path loss 128.1 + 37.6 log10(r / km) dB (3GPP TR 36.814).

    Nearer than 1 m counts as 1 m. Rounded to float32, as libraries differ in the last bits.
    """
    loss_db = 128.1 + 37.6 * np.log10(np.maximum(metres, 1.0) / 1000.0)
    return np.asarray(10.0 ** (-loss_db / 10.0)).astype(np.float32).astype(np.float64)


def noise_w_hz(dbm_hz: float = BOLTZMANN_DBM_HZ) -> float:
    """Noise density in W/Hz."""
    return float(10.0 ** (dbm_hz / 10.0 - 3.0))


def mean_snr(gain: Float64, power_w: Float64, bandwidth_hz: Float64, noise: float) -> Float64:
    """The ratio p g / (N0 W), rounded to float32."""
    ratio = np.asarray(power_w * gain / (noise * bandwidth_hz))
    return ratio.astype(np.float32).astype(np.float64)
