"""Train and test windows of a serving trace that share no request."""

import numpy as np

from fleetgym.traces.errors import TraceError, nearest
from fleetgym.traces.schema_serving import Int64, ServingTrace

TRAIN_SHARE = 0.6  # of the trace's time, from its start; test is what follows
SPLITS = ("train", "test")


def split_windows(
    trace: ServingTrace,
    count: int,
    length_requests: int,
    split: str,
    seed: int | np.random.Generator,
) -> Int64:
    """Where windows of one split begin: rows for `ServingTrace.window`, drawn uniformly.

    Train windows lie in the first ``TRAIN_SHARE`` of the time, test windows in the rest, at least
    one window's length behind the last row of train. Windows of the same split may overlap.

    Args:
        trace: valid; its arrivals are cut into windows.
        count: windows.
        length_requests: arrivals of a window.
        split: ``"train"`` or ``"test"``.
        seed: of everything drawn.

    Returns:
        ``(count,)`` rows of the first arrivals, in the order drawn.

    Raises:
        TraceError: an unknown split, no length, or a split shorter than a window.
    """
    if split not in SPLITS:
        raise TraceError(f"unknown split {split!r}; {nearest(split, SPLITS)}")
    if count < 0 or length_requests < 1:
        raise TraceError(
            f"{count} windows of {length_requests} arrivals: expected at least 0 of at least 1"
        )
    arrival = trace.arrival_ns[: trace.num_arrivals]
    end_of_train = arrival[0] + TRAIN_SHARE * (arrival[-1] - arrival[0])
    cut = int(np.searchsorted(arrival, end_of_train))
    if split == "train":
        first, last = 0, cut - length_requests
    else:
        first, last = cut + length_requests, len(arrival) - length_requests
    if last < first:
        raise TraceError(
            f"{trace.name}: no {split} window of {length_requests} arrivals: {cut} of its "
            f"{len(arrival)} are train, and test begins {length_requests} after them; take shorter "
            "windows"
        )
    return np.random.default_rng(seed).integers(first, last + 1, count)
