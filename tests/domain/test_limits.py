"""How much one user may have: everybody's limit, or a share for users that an account names."""

import pytest

from chatbackend.domain.errors import RateLimited
from chatbackend.domain.identity import Principal
from chatbackend.domain.limits import USERS_SHARE, PerUser

ACCOUNT = Principal("t", "app", "app", "k")
USER = Principal("t", "app", "app/anna", "k")


def refused(limits: PerUser, principal: Principal) -> bool:
    try:
        with limits.room(principal):
            pass
    except RateLimited as error:
        assert (error.code, error.retry_after_s) == ("too_many_things", 1.0)
        return True
    return False


@pytest.mark.parametrize("principal", [ACCOUNT, USER])
def test_a_limit_is_everybodys_and_who_leaves_makes_room(principal: Principal) -> None:
    limits = PerUser(2, what="things", code="too_many_things")
    for _ in range(2):
        assert not refused(limits, principal)
        limits.enter(principal)
    assert refused(limits, principal)
    assert not refused(limits, Principal("t2", "app", principal.owner, "k"))
    limits.leave(principal)
    assert not refused(limits, principal)
    limits.leave(principal)
    limits.enter(principal)
    assert not refused(limits, principal)


def test_room_is_taken_in_the_step_that_looks_for_it_and_given_back() -> None:
    limits = PerUser(1, what="things", code="too_many_things")
    with pytest.raises(ValueError, match="wrong"), limits.room(USER):
        assert refused(limits, USER)
        raise ValueError("wrong")
    assert not refused(limits, USER)


def test_without_one_users_have_a_share_and_accounts_no_bound() -> None:
    limits = PerUser(None, what="things", code="too_many_things")
    for principal in (ACCOUNT, USER):
        for _ in range(USERS_SHARE):
            limits.enter(principal)
    assert refused(limits, USER)
    assert not refused(limits, ACCOUNT)
