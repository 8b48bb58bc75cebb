"""Models whose every number is random: an oracle that agrees with one agrees with all."""

import torch


def randomise(model, weights=0.3, means=0.2):
    """Shift all parameters and draw running statistics, in place; the model, evaluating.

    By normal numbers of these deviations; of variances, by uniform ones.
    """
    with torch.no_grad():
        for value in model.parameters():
            value += weights * torch.randn_like(value)
        for key, value in model.named_buffers():
            if key.endswith("mean"):
                value.copy_(means * torch.randn_like(value))
            elif key.endswith("var"):
                value.copy_(torch.rand_like(value) + 0.3)
    return model.eval()
