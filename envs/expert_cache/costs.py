"""What computing and moving an expert costs: presets of published code, and a roofline."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

MS = 1_000_000  # ns

CostName = Literal["hybrimoe", "hybrimoe-fast-cpu", "hybrimoe-affine-cpu", "fiddler", "roofline"]


class Costs(NamedTuple):
    """Nanoseconds. Computing n tokens takes max(floor, fixed + n token), moving an expert move."""

    cpu_floor: int
    cpu_fixed: int
    cpu_token: int
    gpu_floor: int
    gpu_fixed: int
    gpu_token: int
    move: int


# HybriMoE's code (github.com/PKU-SEC-Lab/HybriMoE): CPU 1.0 a token, 0.2 a token, or 0.8 a token +
# 0.79; GPU 0.5 whatever the tokens; moving an expert 0.418. Fiddler's (github.com/efeslab/fiddler):
# CPU 7 a token, 70 to bring an expert to the GPU, on which computing is not counted. Taken as ms.
PRESETS: dict[str, Costs] = {
    "hybrimoe": Costs(0, 0, 1_000_000, 0, 500_000, 0, 418_000),
    "hybrimoe-fast-cpu": Costs(0, 0, 200_000, 0, 500_000, 0, 418_000),
    "hybrimoe-affine-cpu": Costs(0, 790_000, 800_000, 0, 500_000, 0, 418_000),
    "fiddler": Costs(0, 0, 7 * MS, 0, 0, 0, 70 * MS),
}


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """The fields of a scenario that say what things cost.

    ``cost="roofline"`` derives all from sizes: an expert of ``expert_mparams`` million parameters
    of ``bytes_per_param`` is read once from memory and multiplied with n tokens (2 operations a
    parameter and token), whichever takes longer; moving it takes its bytes / ``pcie_gb_s``.
    """

    cost: CostName = "hybrimoe"
    expert_mparams: float = 8.65
    bytes_per_param: float = 2.0
    gpu_gb_s: float = 1_008.0  # an RTX 4090
    gpu_tflops: float = 165.0
    cpu_gb_s: float = 80.0  # two channels of DDR5
    cpu_tflops: float = 1.0
    pcie_gb_s: float = 25.0  # PCIe 4.0 x16, as measured rather than as named
    dense_ms: float = 0.0  # between two layers of experts: attention and the like

    def costs(self) -> Costs:
        """The costs in ns."""
        if self.cost != "roofline":
            return PRESETS[self.cost]
        params = self.expert_mparams * 1e6
        size = params * self.bytes_per_param
        return Costs(
            cpu_floor=round(size / self.cpu_gb_s),
            cpu_fixed=0,
            cpu_token=round(2 * params / self.cpu_tflops / 1e3),
            gpu_floor=round(size / self.gpu_gb_s),
            gpu_fixed=0,
            gpu_token=round(2 * params / self.gpu_tflops / 1e3),
            move=round(size / self.pcie_gb_s),
        )
