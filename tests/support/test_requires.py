"""An absent component is named in a skip, and fails where it is demanded."""

import pytest

from tests.support.requires import VARIABLE, require, require_program


def test_an_absent_component_skips_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    with pytest.raises(pytest.skip.Exception, match="aimock is absent: run it"):
        require("aimock", "run it")


@pytest.mark.parametrize("demanded", ["all", "aimock", "redis, aimock"])
def test_a_demanded_component_fails_instead(monkeypatch: pytest.MonkeyPatch, demanded: str) -> None:
    monkeypatch.setenv(VARIABLE, demanded)
    with pytest.raises(pytest.fail.Exception, match="aimock is absent: run it"):
        require("aimock", "run it")


def test_a_component_that_nobody_named_still_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "redis")
    with pytest.raises(pytest.skip.Exception):
        require("aimock", "run it")


def test_a_present_program_is_found() -> None:
    assert require_program("sh", "dash").endswith("/sh")
