"""Commands that would destroy something, and files that were damaged: an error that says which, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from commanding import refused


def test_what_is_read_is_not_written_over(maestro, model, pictures):
    picture = pictures / "0.png"
    before = picture.read_bytes()
    refused(maestro("reconstruct", model, picture, "--out", picture), "would replace a file that is read")
    refused(
        maestro("reconstruct", model, picture, "--out", "params.yaml"), r"params\.yaml: what is written is a \.png file"
    )
    refused(maestro("masks", "--out", "params.yaml"), r"params\.yaml: what is written is a \.png picture")
    refused(maestro("embed", model, picture, "--out", picture), r"what is written is a \.parquet file")
    refused(maestro("masks", "--model", model, "--dataset", "tiny", "--out", "m.png", "--ratio", "0"), "hides nothing")
    Path("folder.png").mkdir()
    refused(maestro("reconstruct", model, picture, "--out", "folder.png"), r"folder\.png is a folder")
    assert picture.read_bytes() == before and "recipes" in Path("params.yaml").read_text()


@pytest.mark.parametrize("text", ["[]", "null", "5", "", "{", '{"schema": 1'])
def test_a_damaged_dataset_is_named(maestro, project, text):
    (project / "data" / "tiny" / "dataset.json").write_text(text)
    refused(maestro("plan", "tiny"), r"dataset\.json")


@pytest.mark.parametrize("text", ["- 1", "{model.encoder.width: x}", "{masking.ratio: 2.5}", "{modle: 1}"])
def test_a_damaged_choice_is_named(maestro, project, text):
    (project / "results" / "tiny" / "best.yaml").write_text(text)
    refused(maestro("plan", "tiny"), r"best\.yaml.* dvc repro search@tiny")


def test_a_summary_of_a_search_that_lacks_its_verdict_is_named(maestro, project):
    (project / "results" / "tiny" / "search.json").write_text('{"schema": 2}')
    refused(maestro("study", "tiny"), "search")
