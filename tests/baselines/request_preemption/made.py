"""Workloads made by hand for one question each."""

import numpy as np

from fleetgym.envs.request_preemption.workloads import ServingWorkload
from fleetgym.traces.schema_serving import ServingTrace

NS = 10**9  # in a second


class Made:
    """Rows (arrival in seconds, prompt, output), clients, and predictions if there are any."""

    name = "made"

    def __init__(self, *worlds, client=(), predicted=()):
        self.worlds, self.client, self.predicted = worlds, client, predicted
        self.capacity = {"rows": max(map(len, worlds)), "hashes": 0}

    def draw(self, seed):
        rows = self.worlds[seed]
        arrival, prompt, output = (np.array(column) for column in zip(*rows, strict=True))
        trace = ServingTrace.independent(
            "made",
            np.rint(arrival * NS).astype(np.int64),
            prompt.astype(np.int32),
            output.astype(np.int32),
        )
        if len(self.client):
            trace.client[:] = self.client
        predicted = np.zeros(len(rows), np.int32)
        predicted[: len(self.predicted)] = self.predicted
        return ServingWorkload("made", 0, trace.validate(), predicted)  # priorities are of the seed
