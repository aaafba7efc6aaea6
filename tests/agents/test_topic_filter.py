"""The topic filter against the same steps taken by NumPy's linear algebra."""

import numpy as np
import pytest

from fleetgym.agents import topic_filter as tf
from fleetgym.envs.expert_cache.types import LOG_RANGE, UNIT

LAYERS, EXPERTS, TOPICS = 5, 24, 3


def routed(steps, seed=0, noise=0.5):
    """Stored log scores ``(steps * L, E)`` of slow topics in noise, and what the topics make."""
    rng = np.random.default_rng(seed)
    loadings = rng.standard_normal((TOPICS + 1, LAYERS, EXPERTS)) * [
        [[1.2]],
        [[1.0]],
        [[0.8]],
        [[0.6]],
    ]
    mood = rng.standard_normal((steps, TOPICS))
    for t in range(1, steps):
        mood[t] = 0.9 * mood[t - 1] + np.sqrt(1 - 0.81) * mood[t]
    clean = loadings[0] + np.einsum("tm,mle->tle", mood, loadings[1:])
    logs = clean + noise * rng.standard_normal(clean.shape) - 6.0
    stored = np.rint((LOG_RANGE + logs) / LOG_RANGE * UNIT).clip(0, UNIT).astype(np.int16)
    return stored.reshape(steps * LAYERS, EXPERTS), clean - clean.mean(2, keepdims=True)


def centred(stored):
    logs = stored.astype(np.float64) * LOG_RANGE / UNIT
    return (logs - logs.mean(1, keepdims=True)).reshape(-1, LAYERS, EXPERTS)


def fed(stored, events=None, steps=None, b=1):
    f = tf.empty_filter(b, steps or len(stored) // LAYERS, LAYERS, EXPERTS)
    history = np.repeat(stored[None], b, axis=0)
    last = np.full(b, (len(stored) if events is None else events) - 1)
    tf.catch_up(f, history, last, np.arange(b))
    return f


def test_directions_are_those_of_the_gram_matrix():
    steps = 40
    stored, _ = routed(steps)
    f, x = fed(stored), centred(stored).reshape(steps, -1)
    gram = x @ x.T / x.shape[1]
    np.testing.assert_allclose(f.gram[0], gram, rtol=1e-4, atol=1e-4)
    values, vectors = np.linalg.eigh(gram)
    # Within the subspace directions of like variance turn slowly: what counts is the whole of it.
    assert f.spread[0, : TOPICS + 1].sum() == pytest.approx(values[-TOPICS - 1 :].sum(), rel=2e-3)
    mine, true = f.axes[0, : TOPICS + 1], vectors[:, ::-1][:, : TOPICS + 1].T
    np.testing.assert_allclose(mine.T @ mine, true.T @ true, atol=0.02)
    np.testing.assert_allclose(f.axes[0] @ f.axes[0].T, np.eye(tf.RANK), atol=1e-4)
    left = (np.trace(gram) - f.spread[0].sum()) / (steps - tf.RANK)
    assert f.numbers[0, tf.NOISE] == pytest.approx(left, rel=1e-3)
    # Of the noise put in (0.25) the directions beyond the topics take some.
    assert 0.2 < left < 0.25


def test_loadings_are_shrunk_scores_along_the_directions():
    stored, _ = routed(30)
    f, x = fed(stored), centred(stored)
    edge = f.numbers[0, tf.NOISE] * (1 + np.sqrt(30 / (LAYERS * EXPERTS))) ** 2
    kept = np.maximum(0, f.spread[0] - edge) / f.spread[0]
    due = np.einsum("r,rt,tle->lre", kept, f.axes[0].astype(np.float64), x)
    np.testing.assert_allclose(f.loadings[0], due, atol=1e-3)
    assert (kept[: TOPICS + 1] > 0.5).all()
    assert (kept[TOPICS + 1 :] < 0.2).all(), "noise is not taken for a topic"


def test_a_step_is_placed_by_ridge_regression():
    stored, _ = routed(31)
    f, layers_seen = fed(stored, 30 * LAYERS), 3
    before, pace, noise = f.before[0].copy(), f.pace[0].copy(), float(f.numbers[0, tf.NOISE])
    loadings, x = f.loadings[0].astype(np.float64), centred(stored)[30]
    last = np.array([30 * LAYERS + layers_seen - 1])
    tf.catch_up(f, stored[None], last, np.arange(1))
    rows = np.concatenate([loadings[layer].T for layer in range(layers_seen)])
    normal = rows.T @ rows + np.diag(noise / pace)
    place = np.linalg.solve(normal, rows.T @ x[:layers_seen].ravel() + noise / pace * before)
    np.testing.assert_allclose(f.place[0], place, rtol=2e-3, atol=2e-4)
    due = place @ loadings[layers_seen - 1]
    np.testing.assert_allclose(f.forecast[0, layers_seen - 1], due, atol=2e-3)


def test_averages_are_those_of_a_loop():
    stored, _ = routed(9)
    f, x = fed(stored), centred(stored)
    for row, rate in ((tf.FAST, tf.RATES[0]), (tf.SLOW, tf.RATES[1]), (tf.MEAN, 0.0)):
        average = np.zeros((LAYERS, EXPERTS))
        for t in range(9):
            average += max(rate, 1 / (t + 1)) * (x[t] - average)
        np.testing.assert_allclose(f.kept[0, :, row], average, atol=1e-4)
    np.testing.assert_allclose(f.kept[0, :, tf.NOW], x[-1], atol=1e-4)


def test_the_forecast_is_nearer_to_what_topics_make_than_any_average():
    steps, noise = 48, 1.5
    stored, clean = routed(steps, seed=4, noise=noise)
    f = tf.empty_filter(1, steps, LAYERS, EXPERTS)
    errors = {"forecast": [], "fast": [], "slow": [], "mean": []}
    for n in range(steps * LAYERS):
        tf.catch_up(f, stored[None], np.array([n]), np.arange(1))
        t, layer = divmod(n, LAYERS)
        if t < 16:
            continue
        seen = {"forecast": f.forecast[0, layer], "fast": f.kept[0, layer, tf.FAST]}
        seen |= {"slow": f.kept[0, layer, tf.SLOW], "mean": f.kept[0, layer, tf.MEAN]}
        for name, row in seen.items():
            errors[name].append(((row - clean[t, layer]) ** 2).mean())
    mean = {name: np.mean(value) for name, value in errors.items()}
    assert mean["forecast"] < 0.8 * min(mean["fast"], mean["slow"], mean["mean"])


def test_what_is_taken_in_at_once_is_what_is_taken_in_bit_by_bit():
    stored, _ = routed(12)
    whole, steps = fed(stored, b=2), fed(stored, 1, b=2)
    for last in (3, 4, 20, 59):
        tf.catch_up(steps, np.repeat(stored[None], 2, 0), np.full(2, last), np.arange(1))
    for name, array in whole._asdict().items():
        assert np.array_equal(array[0], getattr(steps, name)[0]), name
    assert steps.noted.tolist() == [60, 1], "a world that was not named stays as it was"


def test_worlds_that_begin_anew_are_forgotten():
    stored, _ = routed(8)
    f, fresh = fed(stored, b=2), tf.empty_filter(2, 8, LAYERS, EXPERTS)
    tf.forget(f, np.array([1]))
    assert all(np.array_equal(mine[1], new[1]) for mine, new in zip(f, fresh, strict=True))
    assert f.noted[0] == 40


def test_old_steps_fall_out_of_the_window():
    steps = tf.WINDOW + 20
    stored, _ = routed(steps)
    f, x = fed(stored), centred(stored)
    kept = x[-tf.WINDOW :].reshape(tf.WINDOW, -1)
    trace = float((kept**2).sum() / kept.shape[1])
    assert f.numbers[0, tf.TRACE] == pytest.approx(trace, rel=1e-3)
    values = np.linalg.eigvalsh(kept @ kept.T / kept.shape[1])[::-1]
    assert f.spread[0, : TOPICS + 1].sum() == pytest.approx(values[: TOPICS + 1].sum(), rel=0.01)


def test_a_single_expert_that_all_tokens_take_breaks_nothing():
    stored = np.zeros((20 * LAYERS, EXPERTS), np.int16)
    stored[:, 3] = UNIT
    f = fed(stored)
    assert all(np.isfinite(array).all() for array in f)
    assert (f.forecast[0].argmax(1) == 3).all()
