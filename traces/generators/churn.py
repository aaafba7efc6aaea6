"""VMs that come and go over time: Poisson arrivals, exponential lifetimes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fleetgym.traces.errors import TraceError

Int64 = NDArray[np.int64]

NEVER = int(np.iinfo(np.int64).max)  # the departure of a VM that outlives the horizon
TICK_NS = 1000  # times are whole microseconds: logarithms differ between machines in the last bit


class Churn(NamedTuple):
    """V initial VMs and A arrivals in the order of their time."""

    arrival_time_ns: Int64  # (V + A,) 0 for the initial VMs, then ascending
    departure_time_ns: Int64  # (V + A,) within the horizon, or NEVER
    kind: Int64  # (A,) index into the weights: what arrives


def draw_churn(
    num_initial: int,
    horizon_s: float,
    churn_per_min: float,
    weights: ArrayLike,
    rng: np.random.Generator,
) -> Churn:
    """Draws who comes and who leaves within a horizon.

    Each VM leaves at rate ``churn_per_min`` (its lifetime is exponential); VMs arrive at the rate
    ``churn_per_min * num_initial``, so that in the mean as many are there as at the start.

    Args:
        num_initial: V, VMs there at time 0.
        horizon_s: seconds; nothing happens later.
        churn_per_min: share of the VMs that leaves in a minute, 0.01 for 1%.
        weights: (T,) of the types of arrivals, not negative.
        rng: draws everything.

    Raises:
        TraceError: an argument is negative or not finite, or all weights are 0.
    """
    shares = np.asarray(weights, np.float64)
    figures = (num_initial, horizon_s, churn_per_min, *shares.tolist())
    if not all(0 <= figure < np.inf for figure in figures) or not shares.sum() > 0:
        raise TraceError(
            f"churn of {num_initial} VMs over {horizon_s} s at {churn_per_min} a minute with "
            f"{shares.size} weights: all must be finite and >= 0, and a weight positive"
        )
    horizon = int(horizon_s * 1e9)
    rate = churn_per_min / 60e9  # of each VM, a ns
    arrivals = int(rng.poisson(rate * num_initial * horizon))
    times = np.sort(_ticks(rng.uniform(0, horizon, arrivals)))
    kind = rng.choice(len(shares), arrivals, p=shares / shares.sum())
    arrival = np.concatenate([np.zeros(num_initial, np.int64), times])
    lifetime = rng.standard_exponential(num_initial + arrivals)
    leaves = lifetime < (horizon - arrival) * rate
    departure = np.full(len(arrival), NEVER)
    departure[leaves] = arrival[leaves] + _ticks(lifetime[leaves] / rate) if rate else NEVER
    return Churn(arrival, departure, kind.astype(np.int64))


def _ticks(time_ns: NDArray[np.float64]) -> Int64:
    return np.floor(time_ns / TICK_NS).astype(np.int64) * TICK_NS
