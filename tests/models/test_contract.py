"""What every model has to honour, and that the checks of it find the faults they are there for."""

import ast
import inspect

import pytest
import torch
from torch import nn

from isthmus import contract, models
from isthmus.batch import Impressions
from isthmus.contract import CHECKS
from isthmus.models.base import resumable
from isthmus.models.mlp import MLPRanker


@pytest.mark.parametrize("name", models.names())
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_every_model_honours_the_contract(check, name):
    check(models.get(name))


def test_every_check_is_listed():
    """A check takes ``kind`` alone."""
    defined = [
        node.name
        for node in ast.parse(inspect.getsource(contract)).body
        if isinstance(node, ast.FunctionDef) and [a.arg for a in node.args.args] == ["kind"]
    ]
    assert [check.__name__ for check in CHECKS] == defined


class OfTheBatch(MLPRanker):
    """Scores depend on the company."""

    def forward(self, batch):
        logit_B = super().forward(batch)
        return logit_B - logit_B.mean()


class Idle(MLPRanker):
    """A parameter that nothing reads."""

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.idle = nn.Parameter(torch.ones(1))


class Twice(MLPRanker):
    """One tensor under two names."""

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.again = self.out


class Constant(MLPRanker):
    """Learns the base rate alone."""

    def forward(self, batch):
        return super().forward(batch).mean().expand(len(batch))


class Forgetful(MLPRanker):
    """What it has counted is not in its state dict."""

    def __init__(self, config, schema):
        super().__init__(config, schema)
        self.seen = 0

    def forward(self, batch):
        self.seen += self.training
        return super().forward(batch) + self.seen


class Hoarding(MLPRanker):
    """Its epoch keeps a count to itself, and says that it may be entered in its middle."""

    @resumable
    def epoch(self, feed):
        for number, batch in enumerate(feed.shuffled()):
            yield {"bce": super().losses(batch)["bce"] * (number + 1)}


class Fickle(MLPRanker):
    """Noise of a generator that no seed sets, in training and in scoring."""

    noise = torch.Generator().manual_seed(0)

    def forward(self, batch):
        return super().forward(batch) + torch.randn(len(batch), generator=self.noise)


class OneRow(MLPRanker):
    """Scaled by the batch's own deviation, which one row has not."""

    def forward(self, batch):
        logit_B = super().forward(batch)
        return logit_B / logit_B.std(correction=0) if self.training else logit_B


class NoUnknown(MLPRanker):
    """Rows of the unknown domain are given up."""

    def forward(self, batch):
        return super().forward(batch).where(batch.domain > 0, 9.0)


class Unreached(MLPRanker):
    """A term that no parameter can lower."""

    def losses(self, batch):
        return {**super().losses(batch), "constant": torch.ones(())}


class Padded(MLPRanker):
    """Counts where the padding is."""

    def forward(self, batch):
        return super().forward(batch) + batch.features[:, -3].eq(0)


class Blind(MLPRanker):
    """Ids pass through floating-point numbers."""

    def forward(self, batch):
        ids = batch.features.float().long()
        return super().forward(Impressions(ids, batch.domain, batch.label))


FAULTS = {
    "a_row_is_scored_alone_as_in_company": OfTheBatch,
    "every_parameter_is_trained": Idle,
    "no_parameter_stands_in_for_another": Twice,
    "learns_what_is_planted": Constant,
    "state_dict_is_the_whole_state": Forgetful,
    "stopping_and_going_on_is_not_stopping": Forgetful,
    "leaving_an_epoch_in_its_middle_is_not_leaving": Hoarding,
    "same_seed_same_scores": Fickle,
    "a_batch_may_be_one_row": OneRow,
    "an_unknown_domain_has_a_learned_path": NoUnknown,
    "losses_are_scalars_that_reach_the_parameters": Unreached,
    "padding_says_nothing": Padded,
    "large_ids_stay_apart": Blind,
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_check_finds_its_fault(name):
    with pytest.raises(AssertionError):
        getattr(contract, name)(FAULTS[name])
