"""Models whose every number is random: an oracle that agrees with one agrees with all."""

import torch


def randomise(model):
    """Shift all parameters and draw running statistics, in place; the model, evaluating."""
    with torch.no_grad():
        for value in model.parameters():
            value += 0.3 * torch.randn_like(value)
        for key, value in model.named_buffers():
            if key.endswith("mean"):
                value.copy_(0.2 * torch.randn_like(value))
            elif key.endswith("var"):
                value.copy_(torch.rand_like(value) + 0.3)
    return model.eval()
