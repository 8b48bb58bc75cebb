"""What two processes tell each other, against figures worked by hand; alone nothing of it happens."""

import json
import math

import pytest
import torch
from torch import nn

from isthmus import distributed, meeting
from isthmus.batch import Impressions
from isthmus.data.feed import Feed
from isthmus.errors import ConfigError
from tests.distributed import cases
from tests.distributed.launch import HERE, torchrun


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """What each case gave in the first process, and in the second."""
    folder = tmp_path_factory.mktemp("cases")
    done = torchrun(2, HERE / "cases.py", folder)
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_a_step_is_that_of_the_whole_batch(both):
    """Three rows, x = 1 | 2, 6: of the first process one, which is a third of the batch."""
    first, second = (found["step"] for found in both)
    assert [first["share"], second["share"]] == pytest.approx([1 / 3, 2 / 3])
    for found in (first, second):
        assert found["losses"] == pytest.approx({"linear": 3.0, "table": 3.0, "first": 3.0})
        assert found["all"] == pytest.approx(3.0)  # the mean of x
        assert found["first"] == pytest.approx(9.0 / 3)
        assert found["nobody"]
        assert found["ids"] == [1, 4]  # ids 1 | 1, 4: row 1 was met by both
        assert found["rows"] == pytest.approx([(1 + 2) / 3, 6 / 3])
        assert found["unmet"]


def test_bytes_that_were_sent_are_counted(both):
    """Dense: 3 losses, 3 flags, 3 weights. Rows: up to 2 (as the other has) of an id and a number."""
    for found in both:
        sent = found["step"]["sent"]
        assert sent == {"dense": 9 * 4, "sparse": 2 * (8 + 4), "words": 2 * 8}


def test_a_batch_of_fewer_rows_than_processes_is_everyones(both):
    for found in both:
        one = found["undivided"]
        assert one["part"]["share"] == 0.5
        assert one["part"]["losses"] == pytest.approx({"linear": 1.0, "table": 1.0, "first": 9.0})
        assert one["part"]["all"] == pytest.approx(1.0)
        assert one["part"]["rows"] == pytest.approx([1.0])
        assert (one["mean"], one["total"]) == (1.0, 1.0)


def test_a_mean_over_tokens_is_that_of_all_tokens(both):
    assert [found["tokens"]["rows"] for found in both] == [[0, 1], [1, 3]]
    parts = [found["tokens"]["part"] for found in both]
    assert sum(parts) == pytest.approx((5 + 1 + 2 + 4) / 4)


def test_gradients_pass_through_what_reads_a_whole_batch(both):
    """Each process's loss reads all rows, by weights 1, 10, 100 and 2, 20, 200."""
    for found, rows in zip(both, (slice(0, 1), slice(1, 3)), strict=True):
        assert found["passing"]["whole"] == [1.0, 2.0, 6.0]
        assert found["passing"]["sum"] == 9.0
        assert found["passing"]["grad"] == [
            [3 + 3, 30 + 3, 300 + 3][rows][0],
            *([3 + 3, 30 + 3, 300 + 3][rows][1:]),
        ]


def plain_normal(x_BI, active_B):
    """Two-pass statistics over the active rows, by autograd."""
    rows_BI = x_BI[active_B.bool()]
    if not len(rows_BI):
        return x_BI / math.sqrt(1e-5)
    mean_I = rows_BI.mean(0)
    return (x_BI - mean_I) / (rows_BI.var(0, correction=0) + 1e-5).sqrt()


def test_statistics_are_of_the_whole_batch(both):
    x_BI = cases.ROWS_BI.clone().requires_grad_()
    normal_EBI = torch.stack([plain_normal(x_BI, active_B) for active_B in cases.ACTIVE_EB])
    (normal_EBI * cases.WEIGHT_BI).sum().backward()
    found = [one["normal"] for one in both]
    ours = torch.cat([torch.tensor(one["normal"]) for one in found], dim=1)
    torch.testing.assert_close(ours, normal_EBI.detach())
    torch.testing.assert_close(torch.tensor(found[0]["grad"] + found[1]["grad"]), x_BI.grad)
    for one in found:
        assert one["rows"] == [3, 2, 0]
        assert one["mean"][1][0] == pytest.approx([(1 + 8) / 2, (0 - 2) / 2])
        assert one["var"][1][0] == pytest.approx([3.5**2, 1.0])


def test_batch_norm_is_that_of_torch(both):
    norm, x_BI = nn.BatchNorm1d(2), cases.ROWS_BI.clone().requires_grad_()
    out_BI = norm(x_BI)
    (out_BI * cases.WEIGHT_BI).sum().backward()
    found = [one["normal"] for one in both]
    torch.testing.assert_close(torch.tensor(found[0]["norm"] + found[1]["norm"]), out_BI.detach())
    gradient = torch.tensor(found[0]["norm_grad"] + found[1]["norm_grad"])
    torch.testing.assert_close(gradient, x_BI.grad)
    for one in found:
        mean, var = map(torch.tensor, one["running"])
        torch.testing.assert_close(mean, norm.running_mean)
        torch.testing.assert_close(var, norm.running_var)


def test_a_loss_that_is_no_number_stops_both_alike(both):
    assert both[0]["infinite"] == both[1]["infinite"]
    assert both[0]["infinite"].startswith("TrainingError: the loss is not finite (fine = 1")
    assert "bad = nan" in both[0]["infinite"]


def test_words(both):
    for rank, found in enumerate(both):
        said = found["said"]
        assert said["everyone"] == [0, 10]
        assert said["first"] == "made by 0"
        assert said["dealt"] == [[1, 3, 5], [2, 4]][rank]
        assert said["each"] == [[1, 9, 25], [4, 16]]
        assert said["apart"] == [1, 1]


@pytest.mark.parametrize("who", ["refused_by_first", "refused_by_second"])
def test_an_error_of_one_is_everyones(both, who):
    assert [found[who] for found in both] == ["DataError: there is no such row"] * 2


def test_no_thread_of_the_group_is_left(both):
    """One that is there while Python ends aborts the process, now and then."""
    for found in both:
        assert not [name for name in found["threads"] if "gloo" in name]


def test_alone_nothing_is_sent():
    distributed.sent.clear()
    found = cases.step(3, 0)
    assert found["share"] == 1.0
    assert found["all"] == pytest.approx(3.0)
    assert distributed.part(2) == distributed.WHOLE
    assert distributed.everyones("me") == ["me"]
    assert distributed.each(lambda: 3) == [3]
    x = torch.ones(2)
    assert distributed.total(x) is x
    assert distributed.gathered(x) is x
    assert not distributed.sent


def test_the_environment_of_several_processes_is_whole(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(
        ConfigError, match=r"RANK, WORLD_SIZE, and no MASTER_ADDR, MASTER_PORT.*torchrun"
    ):
        meeting.started().__enter__()


def test_restarts_over_machines_need_a_store_of_their_own(monkeypatch):
    """Else torchrun's store gives the addresses of processes that are gone."""
    there = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}
    there |= {"MASTER_PORT": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    for name, value in {**there, "TORCHELASTIC_MAX_RESTARTS": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"):
        meeting.started().__enter__()


def test_one_process_of_torchrun_is_alone(monkeypatch):
    for name, value in zip(meeting.ENVIRONMENT, ("0", "1", "localhost", "1"), strict=True):
        monkeypatch.setenv(name, value)
    with meeting.started() as here:
        assert here == distributed.ALONE


def test_batches_have_a_row_for_each_process(monkeypatch):
    monkeypatch.setattr(distributed, "peers", lambda: distributed.Peers(0, 8))
    rows = Impressions(torch.ones(9, 1).long(), torch.ones(9).long(), torch.ones(9))
    with pytest.raises(ConfigError, match=r"8 processes.*batches of 4 rows.*batch_size"):
        Feed(rows, batch_size=4, seed=0)


@pytest.mark.parametrize(("rows", "size"), [(7, 2), (10, 3), (3, 3), (1000, 7)])
def test_parts_are_the_batch_and_no_two_differ_by_more_than_a_row(monkeypatch, rows, size):
    parts = []
    for rank in range(size):
        monkeypatch.setattr(distributed, "peers", lambda rank=rank: distributed.Peers(rank, size))
        parts.append(distributed.part(rows))
    taken = [list(range(rows))[part.rows] for part in parts]
    assert [row for part in taken for row in part] == list(range(rows))
    assert max(map(len, taken)) - min(map(len, taken)) <= 1
    assert sum(part.share for part in parts) == pytest.approx(1)
