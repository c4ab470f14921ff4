"""The floor of our dependencies, which CI installs and tests."""

from __future__ import annotations

import pytest

from tests.support.scripts import load_script

lowest = load_script("lowest").lowest


def test_each_lower_bound_becomes_the_version() -> None:
    wanted = '\nTwisted[tls]>=26.4\npyblst>=0.3.14,<0.4\ntomli>=2.0; python_version < "3.11"\n'
    assert lowest(wanted) == ["Twisted==26.4", "pyblst==0.3.14", 'tomli==2.0; python_version < "3.11"']


@pytest.mark.parametrize("requirement", ["treq", "treq<27", "treq==26.7"])
def test_a_dependency_without_a_lower_bound_is_refused(requirement: str) -> None:
    with pytest.raises(ValueError, match="no lower bound: treq"):
        lowest(requirement)
