"""A silent peer is asked, and given up on."""

from chatbackend.adapters.realtime.relay.liveness import Liveness


def test_a_silent_peer_is_asked_once_and_given_up_on_when_it_does_not_answer() -> None:
    peer = Liveness(0.0, every_s=20.0, patience_s=10.0)
    looks = [peer.look(float(now), reading=True) for now in (19, 20, 25, 29, 30)]
    assert looks == ["wait", "ask", "wait", "wait", "gone"]


def test_a_peer_that_speaks_is_not_asked() -> None:
    peer = Liveness(0.0, every_s=20.0, patience_s=10.0)
    assert peer.look(20.0, reading=True) == "ask"
    peer.heard(29.0)
    assert [peer.look(now, reading=True) for now in (31.0, 48.0, 49.0)] == ["wait", "wait", "ask"]


def test_time_in_which_nobody_reads_does_not_count() -> None:
    peer = Liveness(0.0, every_s=20.0, patience_s=10.0)
    assert peer.look(20.0, reading=True) == "ask"
    assert peer.look(29.0, reading=False) == "wait"
    assert [peer.look(now, reading=True) for now in (31.0, 48.0, 49.0)] == ["wait", "wait", "ask"]
