"""What a run's TOML may say."""

import pytest

from isthmus.config import checked
from isthmus.errors import ConfigError


@pytest.mark.parametrize(
    ("seeds", "told"), [((), "at least 1 item"), ((1, 1), "a seed is there twice")]
)
def test_a_sharing_report_has_each_of_its_seeds_once(seeds, told):
    with pytest.raises(ConfigError, match=told):
        checked({"data": "d", "share": {"seeds": seeds}}, "run.toml")
