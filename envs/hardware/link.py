"""Copies between GPU and host memory: a cost for each dispatch, and one for each byte.

FastSwitch (arXiv 2411.18424, section 3.1): a paged cache is copied in one dispatch for keys and one
for values of each layer and block, so dispatching dominates; contiguous groups of blocks need one
pair a layer and group.
"""

from dataclasses import dataclass

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.core.jit import kernel


@dataclass(frozen=True)
class Link:
    """One direction of a link.

    Attributes:
        dispatch_us: microseconds each copy costs beside its bytes.
        bandwidth_gb_s: 10^9 bytes a second.
    """

    dispatch_us: float = 8.0
    bandwidth_gb_s: float = 25.0

    def __post_init__(self) -> None:
        if not 0 <= self.dispatch_us <= 1e6 or not 0.001 <= self.bandwidth_gb_s <= 1e6:
            raise ScenarioError(
                f"link with dispatch_us={self.dispatch_us}, bandwidth_gb_s={self.bandwidth_gb_s}: "
                "expected 0 to 1e6 us and 0.001 to 1e6 GB/s"
            )

    @property
    def dispatch_ps(self) -> int:
        """Picoseconds of a dispatch."""
        return round(self.dispatch_us * 1_000_000)

    @property
    def bandwidth_mb_s(self) -> int:
        """10^6 bytes a second, so that `swap_ps` stays in int64 up to 9 TB."""
        return round(self.bandwidth_gb_s * 1_000)


@kernel
def swap_ps(pieces: int, layers: int, num_bytes: int, dispatch_ps: int, bandwidth_mb_s: int) -> int:
    """Picoseconds to copy KV blocks one way, rounded up; kernels may call it too.

    Args:
        pieces: blocks where each is copied for itself, else contiguous groups of blocks.
        layers: of the model; keys and values of each are separate copies.
        num_bytes: of all blocks, all layers.
        dispatch_ps: of a `Link`.
        bandwidth_mb_s: of a `Link`.
    """
    wire = (num_bytes * 1_000_000 + bandwidth_mb_s - 1) // bandwidth_mb_s
    return 2 * layers * pieces * dispatch_ps + wire
