"""Real graphs in a scenario's units keep their shapes and proportions."""

import numpy as np
import pytest

from fleetgym.traces.errors import TraceError
from fleetgym.traces.generators.daggen import REFERENCE_BITS_S, REFERENCE_HZ
from fleetgym.traces.generators.rescaled import rescaled
from fleetgym.traces.schema_mec import from_edges


def graphs():
    one = from_edges("a", [10**9, 3 * 10**9], [(0, 1, 500)], memory=[100, 300], inputs=[1500, 0])
    two = from_edges("b", [2 * 10**9], [], memory=[200], outputs=[1000])
    return one, two


def test_means_and_proportions():
    before = graphs()
    after = rescaled(before, mean_cycles=1e8, ccr=0.5, mean_memory=1e6)
    assert [graph.cycles.tolist() for graph in after] == [[5 * 10**7, 15 * 10**7], [10**8]]
    assert [graph.memory.tolist() for graph in after] == [[500_000, 1_500_000], [10**6]]
    sizes = np.concatenate([graph.data_bytes for graph in after])
    seconds = sizes.mean() * 8 / REFERENCE_BITS_S
    assert seconds / (1e8 / REFERENCE_HZ) == pytest.approx(0.5, rel=1e-3)
    assert sizes.tolist() == [187_500, 62_500, 125_000]
    for old, new in zip(before, after, strict=True):
        assert new.validate().edges.tolist() == old.edges.tolist()
        assert new.name == old.name


def test_nothing_stays_nothing():
    bare = from_edges("a", [5], [])
    (after,) = rescaled([bare], mean_cycles=1.0, ccr=1.0, mean_memory=9.0)
    assert (after.cycles.tolist(), after.memory.tolist()) == ([1], [0])


@pytest.mark.parametrize(
    "wrong", [{"mean_cycles": 0.0}, {"ccr": -1.0}, {"mean_memory": -1.0}, {"graphs": ()}]
)
def test_bad_means(wrong):
    fields = {"graphs": graphs(), "mean_cycles": 1.0, "ccr": 0.0, "mean_memory": 0.0}
    with pytest.raises(TraceError, match="expected at least one graph"):
        rescaled(**(fields | wrong))
