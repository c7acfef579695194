"""What every combination of parts must do. Rows are read from the registry tables, so a new part is tested by being registered."""

import pytest
import torch
from contract import CHECKS, DECODER_SIZES, ENCODER_SIZES, config_of, factors_of, name_of, possible, run
from pairwise import crossed, pairwise

from mae_core.decoders import DECODERS
from mae_core.encoders import ENCODERS
from mae_core.modalities import MODALITIES
from mae_core.model import MaskedAutoencoder

CROSSED = ("masker", "encoder", "objective")
"""What occurs in every combination where the whole product is asked for; with the rest it would be some 350,000."""
CASES = [case for modality in MODALITIES for case in pairwise(factors_of(modality), possible)]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_contract(case, check, tmp_path):
    run(check, case, tmp_path)


@pytest.mark.parametrize("modality", list(MODALITIES))
def test_a_model_can_be_counted_without_memory_for_it(modality):
    """The search builds candidates on the meta device to know their parameters."""
    for case in (case for case in CASES if case["modality"] == modality):
        with torch.device("meta"):
            model = MaskedAutoencoder.build(config_of(case))
        assert all(parameter.is_meta for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [c for m in MODALITIES for c in crossed(factors_of(m), CROSSED, possible)], ids=name_of
)
def test_contract_in_full(case, tmp_path):
    for check in CHECKS:
        folder = tmp_path / check.__name__
        folder.mkdir()
        run(check, case, folder)


def test_every_row_is_covered():
    """A part that is registered without saying here what it looks like would be a KeyError above; this says so in words."""
    assert set(ENCODER_SIZES) == set(ENCODERS) and set(DECODER_SIZES) == set(DECODERS), "give the new part a small size"
