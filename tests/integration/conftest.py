"""What the tests of whole servers stand on."""

from tests.support.upstreams import upstream

__all__ = ["upstream"]
