"""Synthesised serving traces by the names of serving.toml, whatever their kind."""

import numpy as np

from fleetgym.traces.generators.agents import programs
from fleetgym.traces.generators.serving import bursty
from fleetgym.traces.generators.serving_shapes import agent_shapes
from fleetgym.traces.schema_serving import ServingTrace


def synthesise(name: str, *, count: int, seed: int | np.random.Generator) -> ServingTrace:
    """Single requests, or programs of agents.

    Args:
        name: of a shape in serving.toml.
        count: requests, or programs.
        seed: of everything drawn.

    Raises:
        TraceError: an unknown name, which the message compares with those there are; or no count.
    """
    if name in agent_shapes():
        return programs(name, num_programs=count, seed=seed)
    return bursty(name, num_requests=count, seed=seed)
