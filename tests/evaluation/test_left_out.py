import math

import numpy as np
import pytest

from isthmus.errors import ConfigError
from isthmus.evaluation.left_out import design, effects, fewest_runs, most_groups, runs_for


def scored(out_NG, effect_GG, noise, rng):
    """Scores of groups that are there: the sum of what the present sources give."""
    score_NG = (~out_NG) @ effect_GG + rng.normal(0, noise, out_NG.shape)
    return np.where(out_NG, np.nan, score_NG)


def planted(groups, rng, scale=0.02):
    effect_GG = rng.normal(0, scale, (groups, groups))
    np.fill_diagonal(effect_GG, 0.0)
    return effect_GG


@pytest.mark.parametrize(("groups", "runs"), [(4, 13), (7, 16), (13, 31)])
def test_a_design_is_balanced(groups, runs):
    out_NG = design(groups, runs)
    assert not out_NG[0].any(), "the first run is of all groups"
    assert set(out_NG.sum(0)) == {round((runs - 1) / 3)}
    assert (~out_NG).any(1).all(), "no run is without any group"
    together = (out_NG.T.astype(int) @ out_NG)[~np.eye(groups, dtype=bool)]
    by_chance = np.random.default_rng(0)
    drawn = np.stack([by_chance.permutation(column) for column in out_NG[1:].T], axis=1)
    blind = (drawn.T.astype(int) @ drawn)[~np.eye(groups, dtype=bool)]
    chance = round((runs - 1) / 3) ** 2 / (runs - 1)
    assert ((together - chance) ** 2).mean() < 0.5 * ((blind - chance) ** 2).mean()
    assert np.array_equal(out_NG, design(groups, runs)), "the seed alone decides"


def test_effects_are_found_where_there_is_no_noise():
    rng = np.random.default_rng(0)
    effect_GG, out_NG = planted(5, rng), design(5, 24)
    found = effects(out_NG, scored(out_NG, effect_GG, 0.0, rng))
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(found.effect[off], effect_GG[off], atol=4e-4)  # the least penalty
    assert np.isnan(np.diag(found.effect)).all()


def test_ridge_is_least_squares_with_a_row_of_the_prior_a_source():
    """The penalty as rows of data: sqrt(penalty) times an effect is zero."""
    rng = np.random.default_rng(1)
    out_NG = design(6, 16)
    score_NG = scored(out_NG, planted(6, rng), 0.01, rng)
    found = effects(out_NG, score_NG)
    target = 2
    used = ~out_NG[:, target]
    x = np.delete(~out_NG[used], target, axis=1).astype(float)
    x, y = x - x.mean(0), score_NG[used, target] - score_NG[used, target].mean()
    prior = math.sqrt(found.penalty) * np.eye(5)
    plain = np.linalg.lstsq(np.vstack([x, prior]), np.append(y, np.zeros(5)), rcond=None)[0]
    np.testing.assert_allclose(np.delete(found.effect[:, target], target), plain, atol=1e-12)
    covariance = found.noise[target] ** 2 * np.linalg.inv(x.T @ x + prior**2)
    np.testing.assert_allclose(
        np.delete(found.error[:, target], target), np.sqrt(np.diag(covariance)), rtol=1e-9
    )


def test_standard_errors_are_those_of_the_effects():
    """Planted effects lie within two standard errors about as often as they should."""
    rng = np.random.default_rng(2)
    inside = []
    for seed in range(25):
        effect_GG, out_NG = planted(7, rng), design(7, 16, seed=seed)
        found = effects(out_NG, scored(out_NG, effect_GG, 0.01, rng))
        z = (found.effect - effect_GG) / found.error
        inside.append((np.abs(z[np.isfinite(z)]) < 2).mean())
    assert 0.88 < np.mean(inside) < 0.98


def test_pure_noise_is_shrunk_to_almost_nothing():
    rng = np.random.default_rng(3)
    out_NG = design(7, 31)
    found = effects(out_NG, scored(out_NG, np.zeros((7, 7)), 0.01, rng))
    assert np.sqrt(np.nanmean(found.effect**2)) < 0.0025  # least squares: about .005
    plain = effects(out_NG, scored(out_NG, planted(7, rng, 0.05), 0.01, rng))
    assert np.nanmax(np.abs(plain.effect)) > 0.05, "and what is there is not"


def test_a_target_without_scores_has_no_figures():
    out_NG = design(4, 12)
    score_NG = scored(out_NG, np.zeros((4, 4)), 0.01, np.random.default_rng(0))
    score_NG[:, 1] = np.nan
    found = effects(out_NG, score_NG)
    assert np.isnan(found.effect[:, 1]).all()
    assert np.isnan(found.noise[1])
    assert np.isfinite(found.effect[0, 2:]).all()


def test_the_runs_that_an_effect_needs_show_it():
    """So many runs of a balanced design give least squares a standard error of half the effect."""
    effect, noise = 0.01, 0.02
    runs = runs_for(effect, noise)
    out_NG = design(4, runs)
    used = ~out_NG[:, 0]
    x = (~out_NG[used][:, 1:]).astype(float)
    x -= x.mean(0)
    error = noise * np.sqrt(np.diag(np.linalg.inv(x.T @ x)))
    np.testing.assert_allclose(error, effect / 2, rtol=0.15)


def test_groups_and_runs_match():
    for groups in range(3, 40):
        assert most_groups(fewest_runs(groups)) >= groups
        assert groups == 3 or most_groups(fewest_runs(groups) - 1) < groups
    with pytest.raises(ConfigError, match="at least 3 groups and 7 runs"):
        design(2, 16)
    with pytest.raises(ConfigError, match="budget of 6 runs"):
        design(4, 6)
