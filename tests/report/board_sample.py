"""Rows of a leaderboard, as `isthmus bench` writes them, with planted differences."""

import math
import random

MODELS = (
    "AREAD", "AREAD without masks", "MMoE", "PLE", "STAR", "PEPNet", "EPNet", "EPNet-S", "HiNet",
    "AdaSparse", "ADL", "AESM2", "SAR-Net", "MAMDR (MLP)", "SharedBottom", "DCNv2", "DeepFM",
    "AutoInt", "FinalMLP", "M3oE", "HAMUR", "Isolated MLP", "LightGBM",
)  # fmt: skip
SEEDS = 3


def board_rows(models=MODELS, domains=30):
    """Rows, pairs and domain rows: each model .003 behind the one before; from the fourth behind
    significantly."""
    rng = random.Random(len(models))
    rows, pairs, by_domain = [], [], []
    for place, label in enumerate(models):
        level = 0.75 - 0.003 * place
        for seed in range(SEEDS):
            value = level + rng.gauss(0, 0.001)
            rows.append(_row(label, seed, value, place, rng))
            for d in range(domains):
                size = round(20000 / (d + 1))
                auc = value + rng.gauss(0, 1) / math.sqrt(size)
                by_domain.append(
                    {"data": "planted", "label": label, "seed": str(seed),
                     "domain": f"DOMAIN NUMBER {d}", "rows": str(size), "positives": "9",
                     "auc": f"{auc:.6f}" if d != 7 else ""}
                )  # fmt: skip
        for metric in ("domain_auc", "minor10"):
            if place:
                far = place >= 3
                pairs.append(
                    {"data": "planted", "metric": metric, "label": label, "best": models[0],
                     "seeds": "3", "difference": f"{-0.003 * place}", "low": f"{-0.004 * place}",
                     "high": f"{-0.002 * place if far else 0.001}", "p": "0.01",
                     "p_holm": "0.02" if far else "0.4"}
                )  # fmt: skip
    return rows, pairs, by_domain


def _row(label, seed, value, place, rng):
    seconds = 40 * 1.17 ** ((place * 7) % len(MODELS)) * rng.uniform(0.95, 1.05)
    figures = {
        "auc": value - 0.01,
        "domain_auc": value,
        "macro_auc": value - 0.02,
        "major5": value + 0.02,
        "minor10": value - 0.03 + rng.gauss(0, 0.004),
        "minor5": value - 0.04 + rng.gauss(0, 0.008),
        "worst_auc": value - 0.15,
    }
    return {
        "data": "planted",
        "label": label,
        "model": "mlp",
        "scope": "joint",
        "seed": str(seed),
        **{name: f"{figure:.6f}" for name, figure in figures.items()},
        "parameters": str(1_500_000 + 250_000 * place),
        "trials": "0" if label == "LightGBM" else "8",
        "cpu_seconds": f"{seconds:.1f}",
        "train_rows_per_cpu_s": "" if label == "Isolated MLP" else f"{2_000_000 / seconds:.0f}",
    }
