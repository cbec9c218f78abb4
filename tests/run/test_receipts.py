"""What a pack notes of its writes."""

import numpy as np
import torch

from glassbox_dsl.run.receipts import Log


def test_an_edit_that_had_nothing_to_write_leaves_no_receipt():
    """A write may find none of its rows in a layer: its line is opened and stays empty."""
    log = Log()
    log.about((object(), 0, 0), np.arange(2), np.arange(2))
    assert log.of_shares((), ()) == {}


def test_only_the_rows_that_fired_are_noted():
    log = Log()
    line = log.about((object(), 0, 0), np.array([3, 4, 4]), np.array([0, 0, 1]))
    line.add(torch.tensor([True, False, True]), torch.tensor([1.0, 2.0, 3.0]), torch.tensor([2.0, 2.0, 0.0]))
    [writes] = line.into
    assert writes.cells.tolist() == [3, 4] and writes.items.tolist() == [0, 1] and writes.rows == 2
    assert writes.far.tolist() == [1.0, 3.0] and writes.share[0] == 0.5
