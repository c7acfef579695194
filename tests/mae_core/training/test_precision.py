"""Which number format is chosen, and that the reason is said."""

import pytest
import torch

from mae_core.training.precision import choose_precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def test_an_unknown_precision_names_those_there_are():
    with pytest.raises(ValueError, match="unknown precision 'fp16': there are auto, bf16, fp32"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize("asked", ["bf16", "fp32"])
def test_what_is_asked_for_is_taken(asked):
    assert choose_precision(asked, CPU) == (asked, "asked for")


@pytest.mark.parametrize(
    ("units", "name", "words"),
    [
        ({"amx_bf16": True, "avx512_bf16": True}, "bf16", "amx_bf16 and avx512_bf16"),
        ({"amx_bf16": False, "avx512_bf16": True}, "bf16", "avx512_bf16"),
        ({"amx_bf16": False, "avx512_bf16": False}, "fp32", "no bf16 units"),
        ({}, "fp32", "no bf16 units"),
    ],
)
def test_a_cpu_trains_in_bf16_where_it_has_the_units(monkeypatch, units, name, words):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: units)
    found = choose_precision("auto", CPU)
    assert found.name == name and words in found.reason


@pytest.mark.parametrize(("native", "name"), [(True, "bf16"), (False, "fp32")])
def test_a_gpu_trains_in_bf16_where_it_is_native(monkeypatch, native, name):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **how: asked.append(how) or native)
    assert choose_precision("auto", GPU).name == name
    assert asked == [{"including_emulation": False}]


def test_matrix_products_run_in_it_and_nothing_else():
    a = torch.ones(2, 2)
    with choose_precision("bf16", CPU).autocast(CPU):
        assert (a @ a).dtype == torch.bfloat16 and a.dtype == torch.float32
    with choose_precision("fp32", CPU).autocast(CPU):
        assert (a @ a).dtype == torch.float32
