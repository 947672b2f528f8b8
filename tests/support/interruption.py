"""A signal ends the work even where Python forgets what its handler raised: what
`tests/unit/test_interruption.py` runs."""

import signal
import weakref

import pytest

from worker.interruption import Stopped, insist, stoppable


class Something:
    pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_signal_lost_in_a_callback_is_insisted_on(number: signal.Signals) -> None:
    if signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip(f"{number.name} is ignored here (nohup), and stays so")
    with stoppable():
        held = Something()
        reference = weakref.ref(held, lambda _: signal.raise_signal(number))
        del held  # the callback's exception is printed and forgotten
        assert reference() is None
        with pytest.raises(Stopped, match=number.name):
            insist()


def test_an_error_made_of_a_signal_is_told_as_the_signal() -> None:
    @stoppable()
    def importing() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise ImportError("an extension module's import was interrupted") from None

    with pytest.raises(Stopped):
        importing()


def test_without_a_signal_nothing_is_changed() -> None:
    @stoppable()
    def failing() -> None:
        insist()
        raise ValueError("its own")

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="its own"):
        failing()
    assert signal.getsignal(signal.SIGINT) is before


def test_an_inner_block_forgets_nothing_and_the_next_run_starts_anew() -> None:
    with stoppable():
        with pytest.raises(Stopped):
            signal.raise_signal(signal.SIGTERM)
        with stoppable(), pytest.raises(Stopped):
            insist()
    with stoppable():
        insist()
