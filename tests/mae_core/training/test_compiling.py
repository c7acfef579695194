"""Which trainings are compiled, and what of the model is."""

import pytest
import torch

from mae_core.flops import train_flops
from mae_core.model import MaskedAutoencoder
from mae_core.training.compiling import WORTH, compile_blocks, compiles

CONFIG = {
    "modality": {"kind": "image", "channels": 1, "size": [16, 16], "patch": 4, "mean": [0.5], "std": [0.25]},
    "encoder": {"kind": "vit", "width": 32, "depth": 2, "heads": 2},
    "decoder": {"kind": "joint", "width": 16, "depth": 1, "heads": 2},
    "masking": {"strategy": "random", "ratio": 0.75},
    "objective": {"reconstruction": 1.0, "target": "pixels"},
}
CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@pytest.fixture
def model():
    return MaskedAutoencoder.build(CONFIG)


def test_long_trainings_on_a_gpu_are_compiled(model):
    enough = int(WORTH / train_flops(CONFIG)) + 1
    assert compiles("auto", model, enough, CUDA) and not compiles("auto", model, enough // 2, CUDA)
    assert not compiles("auto", model, enough, CPU)
    assert compiles("always", model, 1, CPU) and not compiles("never", model, enough, CUDA)
    with pytest.raises(ValueError, match="'yes' for compiling: there are auto, always, never"):
        compiles("yes", model, 1, CPU)


def test_blocks_are_compiled_once_and_weights_keep_their_names(model):
    names = set(model.state_dict())
    compile_blocks(model)
    calls = {name: part._compiled_call_impl for name, part in model.named_modules() if part._compiled_call_impl}
    assert list(calls) == ["encoder.blocks.0", "encoder.blocks.1", "decoder.blocks.0"]
    compile_blocks(model)
    assert all(part._compiled_call_impl is calls[name] for name, part in model.named_modules() if name in calls)
    assert set(model.state_dict()) == names
