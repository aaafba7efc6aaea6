"""The learned rule: a linear prediction of how soon an expert is used again.

`fitting` makes the weights.
"""

from fleetgym.envs.core.jit import inner
from fleetgym.envs.expert_cache.types import COUNT, FREQUENCY, LAST, LOG_SCORE, MRS, UNIT, Int16

PREDICTORS = 7
# A constant, recency, frequency, log score, its square, MRS, share of steps that used it.
WEIGHTS = (0.2802, 0.1748, -0.0842, -1.7173, 2.4688, 0.937, 0.2479)


@inner
def predictor(table: Int16, expert: int, step: int, i: int) -> float:
    """The i-th number that the learned rule weighs, of an expert of a layer's table."""
    score = float(table[LOG_SCORE, expert]) / UNIT
    if i == 0:
        return 1.0
    if i == 1:
        return 1.0 / float(1 + step - table[LAST, expert])
    if i == 2:
        return float(table[FREQUENCY, expert]) / UNIT
    if i == 3:
        return score
    if i == 4:
        return score * score
    if i == 5:
        return float(table[MRS, expert]) / UNIT
    return float(table[COUNT, expert]) / (step + 1)
