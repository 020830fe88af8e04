import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from denoiseq.distributed import Ranks
from denoiseq.interrupt import SIGNALS, Interrupted, Stop, end_with, hand_on

IGNORABLE = [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]


@pytest.fixture(autouse=True)
def handlers():
    """Handlers as in a terminal, even where the tests run in the background; restored after."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        ctrl_c = number == signal.SIGINT
        signal.signal(number, signal.default_int_handler if ctrl_c else signal.SIG_DFL)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def kill(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def stop(**more):
    return Stop("Work", lambda: "go on with it", **more)


@pytest.mark.parametrize("number", SIGNALS)
def test_stop_ends_at_once_outside_a_step(number):
    with pytest.raises(Interrupted) as raised, stop():
        kill(number)
        pytest.fail("the signal was not answered")
    assert raised.value.signal == number
    assert str(raised.value) == "Work was interrupted: go on with it."


class InterruptedDestructor:
    def __del__(self):
        kill()


def test_a_signal_within_a_destructor_is_not_lost(capsys):
    hook = sys.unraisablehook
    with pytest.raises(Interrupted) as raised, stop():
        InterruptedDestructor()  # no error leaves it
        time.sleep(5)
        pytest.fail("the signal was lost")
    assert raised.value.signal == signal.SIGINT
    assert capsys.readouterr().err == "" and sys.unraisablehook is hook


@pytest.mark.parametrize("number", SIGNALS)
def test_stop_waits_inside_a_step(number):
    with stop() as stopping, stopping.deferred():
        kill(number)
        assert stopping.signal == number


def test_stop_within_a_sum_over_processes_is_no_lost_process(monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda _tensor: kill())
    with pytest.raises(Interrupted), stop():
        Ranks(rank=0, world=2).wait()


def test_stop_lets_a_second_signal_act_as_ever():
    with stop() as stopping, stopping.deferred():
        kill()
        with pytest.raises(KeyboardInterrupt):
            kill()


def test_stop_of_several_ranks_heeds_no_further_signal():
    def stopped():
        with stop(patient=True) as stopping:
            with stopping.deferred():
                kill()
                kill()
            error = stopping.interruption()
            kill(signal.SIGTERM)
            raise error

    with pytest.raises(Interrupted):
        stopped()
    kill()  # it has yet to speak
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_stop_in_another_thread_leaves_signals_alone():
    seen = []

    def run():
        with stop():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


@pytest.mark.parametrize("number", IGNORABLE)
def test_stop_leaves_ignored_what_was_ignored_at_the_start(number):
    signal.signal(number, signal.SIG_IGN)
    with stop() as stopping:
        kill(number)
    assert stopping.signal is None
    assert signal.getsignal(number) is signal.SIG_IGN


def test_end_with_raises_in_the_main_thread_through_every_stop():
    thread = threading.Thread(target=end_with, args=(LookupError("gone"),))
    with pytest.raises(LookupError, match="gone"), stop(patient=True), stop(patient=True):
        thread.start()
        thread.join()
        pytest.fail("the error was not raised")


def test_end_with_does_nothing_where_nothing_is_to_stop():
    thread = threading.Thread(target=end_with, args=(LookupError("gone"),))
    thread.start()
    thread.join()


def interrupted_by(number):
    with pytest.raises(Interrupted) as raised, stop():
        kill(number)
    return raised.value


def test_hand_on_gives_a_signal_to_the_launcher_that_waits_for_it():
    given = []
    signal.signal(signal.SIGUSR2, lambda number, _frame: given.append(number))
    error = interrupted_by(signal.SIGUSR2)
    assert given == []
    hand_on(error)
    assert given == [signal.SIGUSR2]


@pytest.mark.parametrize("number", SIGNALS)
def test_hand_on_leaves_the_usual_handlers_alone(number):
    hand_on(interrupted_by(number))
    hand_on(KeyboardInterrupt())


# In a process of its own: the server is started once, and another test may have done so.
WORKERS = """
import signal
from denoiseq.workers import fork_server
if __name__ == "__main__":
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        worker = fork_server().Process(target=signal.raise_signal, args=(number,))
        worker.start()
        worker.join()
        print(worker.exitcode, signal.getsignal(number) is signal.SIG_DFL)
"""


def test_fork_server_keeps_workers_from_the_signals_of_a_scheduler(tmp_path):
    script = tmp_path / "workers.py"
    script.write_text(WORKERS)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    said = subprocess.check_output([sys.executable, str(script)], env=env, text=True)
    assert said == "0 True\n" * 3


# A name that no file has: the command waits for a signal before it reads any.
SLOW = """
import sys, time
from denoiseq import cli
import denoiseq.{room}.run as room
room.{function} = lambda *_: print("begun", flush=True) or time.sleep(60)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("command", "room", "function", "said"), [
    ("prepare bam=x.bam fasta=x.fa out=x.h5", "prepare", "prepare_stores",
     "Preparation was interrupted: the same command starts it anew."),
    ("evaluate checkpoint=x.pt", "evaluation", "evaluate",
     "Evaluation was interrupted: the same command starts it anew."),
    ("predict checkpoint=x.pt bam=x.bam out=p", "prediction", "predict",
     "Prediction was interrupted: the same command goes on with what is not done yet."),
    ("train +experiment=smoke out=t", "training", "open_or_prepare",
     "Training was interrupted: the same command starts it anew."),
])  # fmt: skip
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_every_command_stops_with_a_sentence(tmp_path, command, room, function, said, number):
    script = SLOW.format(room=room, function=function)
    process = subprocess.Popen(
        [sys.executable, "-c", script, *command.split()], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert process.stdout.readline() == "begun\n"
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == f"stopped: {said}"
