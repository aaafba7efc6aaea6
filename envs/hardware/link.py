"""Copies between GPU and host memory: a cost for each dispatch, and one for each byte.

FastSwitch (arXiv 2411.18424, section 3.1): a paged cache is copied in one dispatch for keys and one
for values of each layer and block, so dispatching dominates; contiguous groups of blocks need one
pair a layer and group.
"""

from dataclasses import dataclass

from fleetgym.envs.core.errors import ScenarioError


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

    def group_ps(self, layers: int) -> int:
        """Picoseconds of dispatching one contiguous group of KV blocks: keys and values a layer."""
        return 2 * layers * self.dispatch_ps

    def block_ps(self, num_bytes: int) -> int:
        """Picoseconds in which the bytes of a KV block, all layers, cross the link, rounded up."""
        return -(-num_bytes * 1_000_000 // round(self.bandwidth_gb_s * 1_000))
