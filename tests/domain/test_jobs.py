"""A job is tried again ever later, and given up in the end."""

from chatbackend.domain.jobs import MAX_DEATHS, MAX_FAILURES, Job


def failed(failures: int) -> Job:
    return Job(1, "index", "t", "o", "1", failures=failures)


def test_the_wait_grows_with_every_failure() -> None:
    waits = [failed(failures).retry_after_s for failures in range(6)]
    assert waits == sorted(waits)
    assert waits[0] < waits[3] == waits[5]


def test_the_last_try_is_known_before_it_is_made() -> None:
    assert [failed(failures).last_try for failures in (0, MAX_FAILURES - 2, MAX_FAILURES - 1)] == [False, False, True]


def test_a_job_that_kills_its_owners_is_hopeless() -> None:
    assert not failed(0).hopeless
    assert Job(1, "index", "t", "o", "1", deaths=MAX_DEATHS).hopeless
