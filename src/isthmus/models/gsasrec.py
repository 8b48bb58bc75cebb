"""gSASRec: SASRec with sampled negatives, and without the overconfidence that they bring."""

from typing import Literal

from isthmus.models.base import register
from isthmus.models.sasrec import SASRec, SASRecConfig


class GSASRecConfig(SASRecConfig):
    """``calibration`` is the paper's t."""

    loss: Literal["softmax", "sampled_softmax", "bce", "gbce"] = "gbce"


@register("gsasrec", paper="https://arxiv.org/abs/2308.07192")
class GSASRec(SASRec):
    """gSASRec (Petrov and Macdonald, RecSys 2023): SASRec under generalised binary cross-entropy.

    256 negatives, t = .75, as in the paper. Other than there, negatives are shared by the tokens of
    a step and drawn from the target's domain (``candidates``); see ``sasrec`` for the encoder.
    """

    Config = GSASRecConfig
    config: GSASRecConfig
