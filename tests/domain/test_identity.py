"""Owners: the account itself, or a user acting through it."""

import pytest

from chatbackend.domain.errors import Forbidden
from chatbackend.domain.identity import ClientSecret, Principal, user_owner


def test_an_account_reads_its_own_rows_only() -> None:
    assert Principal("t", "app", "app", "key_1").readable_owners == ("app",)


def test_a_user_reads_the_files_of_the_account_too() -> None:
    owner = user_owner("app", "anna")
    assert Principal("t", "app", owner, "key_1").readable_owners == (owner, "app")


@pytest.mark.parametrize("user", ["app", "", "b", "/"])
def test_a_users_rows_are_never_an_accounts(user: str) -> None:
    """Account names have no slash."""
    assert "/" in user_owner("app", user)
    assert user_owner("app", user) != "app"


def test_a_client_secret_asks_only_for_the_models_it_was_made_for() -> None:
    def bound(*models: str) -> Principal:
        return Principal("t", "app", "app", "key_1", ClientSecret("t", "app", "app", "key_1", 1, models or None))

    bound("a", "b").check_model("b")
    bound().check_model("c")
    Principal("t", "app", "app", "key_1").check_model("c")
    with pytest.raises(Forbidden, match="a, b") as refused:
        bound("a", "b").check_model("c")
    assert (refused.value.param, refused.value.code) == ("model", "model_not_allowed")
