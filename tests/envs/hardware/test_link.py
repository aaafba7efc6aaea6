import pytest

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.hardware import all_reduce
from fleetgym.envs.hardware.link import Link
from fleetgym.envs.hardware.models import model

LINK = Link()
US = 1_000_000


def test_swap_by_hand():
    # A block of 16 tokens of Llama-3-8B: 2,097,152 bytes at 40 ps each.
    size = 16 * model("llama-3-8b").kv_bytes_per_token()
    assert LINK.block_ps(size) == 40 * size == 83_886_080
    assert LINK.group_ps(32) == 2 * 32 * 8 * US


def test_swap_rounds_up_and_stays_exact():
    assert Link(0, 0.003).block_ps(1) == 333_334
    assert Link(0, 25).block_ps(9_000_000_000_000) == 360_000_000_000_000
    assert Link(0.001, 25).group_ps(4) == 8_000


@pytest.mark.parametrize("wrong", [{"dispatch_us": -1}, {"bandwidth_gb_s": 0}])
def test_link_out_of_range(wrong):
    with pytest.raises(ScenarioError, match="expected 0 to 1e6 us"):
        Link(**wrong)


def test_all_reduce_by_hand():
    figures = all_reduce.AllReduce(4, 5.0, 150.0, 60.0, 300.0, "", 1, 1, 0.0)
    # 2 (4 - 1) / 4 of 1,000,000 bytes at 150 GB/s: 10 us.
    assert figures.picoseconds(1_000_000) == 15 * US
    # From 8 MiB on the ring: 60 us and 1.5 x 2^23 / 300 ns.
    assert figures.picoseconds(8 << 20) == 60 * US + 41_943_040
    assert figures.picoseconds((8 << 20) - 1) == round(5 * US + 1.5 * ((8 << 20) - 1) / 0.15)


def test_shipped_all_reduces():
    for gpu in ("a100", "h100"):
        for tp in (2, 4, 8):
            found = all_reduce.load(gpu, tp)
            assert found.tp == tp
            assert 0 < found.error_percent < 20
    assert all_reduce.load("h100", 8).picoseconds(1 << 20) < all_reduce.load("a100", 8).picoseconds(
        1 << 20
    )


@pytest.mark.parametrize(
    ("key", "message"), [(("a10", 2), "did you mean 'a100'"), (("a100", 3), r"tp: \[2, 4, 8\]")]
)
def test_unknown_all_reduce(key, message):
    with pytest.raises(ScenarioError, match=message):
        all_reduce.load(*key)
