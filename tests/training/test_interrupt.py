import os
import signal
import threading

import pytest
from denoiseq.distributed import Ranks
from denoiseq.training.interrupt import Interrupted, Stop


def kill(number=signal.SIGINT):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_a_step_it_stops_at_once(tmp_path, number):
    with (
        pytest.raises(Interrupted, match="before its first checkpoint"),
        Stop(tmp_path / "last.pt"),
    ):
        kill(number)
        pytest.fail("the signal was not answered")


def test_inside_a_step_it_waits_and_names_the_checkpoint(tmp_path):
    last = tmp_path / "last.pt"
    last.touch()
    with Stop(last) as stop:
        with stop.deferred():
            kill()
            assert stop.signal is not None
        assert str(stop.interruption()).endswith(f"go on with resume={last}.")


def test_within_a_sum_over_processes_it_is_no_lost_process(tmp_path, monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda _tensor: kill())
    with pytest.raises(Interrupted), Stop(tmp_path / "last.pt"):
        Ranks(rank=0, world=2).wait()


@pytest.fixture
def ctrl_c():
    """Ctrl-C raises, as in a terminal, even where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_one_acts_as_ever(tmp_path, ctrl_c):
    with Stop(tmp_path / "last.pt") as stop, stop.deferred():
        kill()
        with pytest.raises(KeyboardInterrupt):
            kill()


def test_where_it_is_patient_no_further_one_counts(tmp_path, ctrl_c):
    def stopped():
        with Stop(tmp_path / "last.pt", patient=True) as stop:
            with stop.deferred():
                kill()
                kill()
            raise stop.interruption()

    with pytest.raises(Interrupted):
        stopped()
    kill()  # it has yet to speak
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_another_thread_leaves_signals_alone(tmp_path):
    seen = []

    def run():
        with Stop(tmp_path / "last.pt"):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
