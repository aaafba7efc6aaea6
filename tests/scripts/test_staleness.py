import pytest

from fleetgym.scripts.staleness import measure


def test_a_plan_in_time_is_whole_and_a_late_one_is_worth_less():
    curve = measure(
        "greedy",
        1.0,
        4,
        scenario="small",
        workload="matched",
        churn_per_min=0.05,
        delays_s=(1e-6, 1_200.0),
    )
    soon, late = curve.points
    assert soon.kept == pytest.approx((1.0, 1.0, 1.0))
    assert soon.dropped == 0
    assert late.kept.low <= late.kept.value <= late.kept.high
    assert late.kept.value < 0.5
    assert late.dropped > 0.3


def test_without_churn_a_plan_keeps():
    curve = measure(
        "greedy", 1.0, 2, scenario="small", workload="matched", churn_per_min=0, delays_s=(900.0,)
    )
    (point,) = curve.points
    assert point.kept == pytest.approx((1.0, 1.0, 1.0))
    assert point.dropped == 0
