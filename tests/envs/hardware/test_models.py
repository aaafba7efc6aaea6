import pytest

from fleetgym.envs.core.errors import ScenarioError
from fleetgym.envs.hardware.devices import device
from fleetgym.envs.hardware.models import model


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("llama-2-7b", 6_738_415_616),
        ("llama-3-8b", 8_030_261_248),
        ("llama-3-70b", 70_553_706_496),
        ("mixtral-8x7b", 46_702_792_704),
        ("qwen2-7b", 7_615_616_512),
    ],
)
def test_parameters_are_those_published(name, parameters):
    assert model(name).parameters == parameters
    assert model(name).weight_bytes() == 2 * parameters
    assert model(name).weight_bytes(2) == parameters


@pytest.mark.parametrize(
    ("name", "tp", "size"),
    [
        ("llama-3-8b", 1, 131_072),
        ("llama-3-8b", 8, 16_384),
        ("llama-2-7b", 1, 524_288),
        ("llama-3-70b", 4, 81_920),
        ("qwen2-7b", 1, 57_344),
    ],
)
def test_kv_bytes_per_token(name, tp, size):
    assert model(name).kv_bytes_per_token(tp) == size


def test_more_gpus_than_heads_copy_them():
    assert model("llama-3-70b").kv_heads_per_gpu(16) == 1


def test_kv_blocks():
    shape, memory = model("llama-3-8b"), device("a100").memory_bytes
    room = int(0.9 * memory) - 16_060_522_496
    assert shape.kv_blocks(memory) == room // (16 * 131_072) == 29_205
    assert shape.kv_blocks(memory, 0.9, block_tokens=32) == 29_205 // 2
    assert shape.kv_blocks(memory, tp=2) > 2 * 29_205


@pytest.mark.parametrize("tp", [0, -1, 3, 64])
def test_heads_that_cannot_be_split(tp):
    with pytest.raises(ScenarioError, match=f"cannot be split over tp={tp} GPUs"):
        model("llama-3-8b").kv_bytes_per_token(tp)


def test_weights_that_do_not_fit():
    with pytest.raises(ScenarioError, match="use a larger tp than 1"):
        model("llama-3-70b").kv_blocks(device("h100").memory_bytes)


@pytest.mark.parametrize("wrong", [{"utilisation": 0}, {"utilisation": 1.1}, {"block_tokens": 0}])
def test_arguments(wrong):
    with pytest.raises(ScenarioError, match="expected a share above 0"):
        model("llama-3-8b").kv_blocks(1 << 36, **wrong)


def test_unknown_model():
    with pytest.raises(ScenarioError, match="did you mean 'llama-3-8b'"):
        model("llama-3-8")
