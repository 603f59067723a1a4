"""The shape that images, molecules and algorithms share."""

import math

import pytest
import torch

from actlab import activations
from actlab.transfer import interface
from actlab.transfer.interface import Row


def test_a_table_has_the_shared_columns_and_the_rows_values():
    rows = [Row("validation", "accuracy", 0.5, 0), Row("ood", "accuracy", 0.25, 3, "whole", "noise", 2)]
    table = interface.table("images", "MNIST-5k", 7, rows)
    assert table.columns.tolist() == interface.COLUMNS
    assert table.values.tolist() == [
        ["images", "MNIST-5k", "validation", "", 0, "accuracy", "batches", 0, 7, 0.5, "scored"],
        ["images", "MNIST-5k", "ood", "noise", 2, "accuracy", "whole", 3, 7, 0.25, "scored"],
    ]


def test_a_table_without_rows_still_has_the_columns():
    assert interface.table("images", "MNIST-5k", 0, []).columns.tolist() == interface.COLUMNS


def test_a_failed_test_is_a_row_with_no_value():
    row = interface.table("images", "x", 0, [Row("ood", "accuracy", math.nan, 0, outcome="OOM")]).iloc[0]
    assert math.isnan(row["value"])
    assert row["outcome"] == "OOM"


def test_missing_data_is_one_line_with_the_folder_the_files_and_the_way_to_get_them(tmp_path):
    error = interface.MissingData("CIFAR-10", tmp_path, ["a.gz", "b.gz"], "Fetch them with: make cifar")
    assert str(error) == f"CIFAR-10: wanted a.gz, b.gz in {tmp_path}; came none. Fetch them with: make cifar"
    assert isinstance(error, OSError)


def test_a_convolutions_function_sees_the_channels_last():
    seen = []

    def function(x):
        seen.append(x.shape)
        return x

    x = torch.randn(2, 3, 4, 5)
    assert torch.equal(interface.channels_last(function)(x), x)
    assert seen == [(2, 4, 5, 3)]


@pytest.mark.parametrize("name", ["qfw", "fisg", "symmetric-phase-flipped", "turbulent"])
def test_statistics_and_neighbours_of_a_convolution_are_taken_along_batch_and_channels(name):
    function = activations.REGISTRY[name].function
    x = 3 * torch.randn(4, 6, 5, 5, dtype=torch.float64)
    shown = interface.channels_last(function)(x)
    assert torch.equal(shown, torch.permute(function(torch.permute(x, (0, 2, 3, 1))), (0, 3, 1, 2)))
    if name in ("fisg", "symmetric-phase-flipped"):  # which look along the last axis
        assert not torch.allclose(shown, function(x))
