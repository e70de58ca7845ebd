"""Signals that end a command which runs until it is stopped."""

import signal


def stop_like_ctrl_c(number: int) -> None:
    """Let a signal, as a service is stopped by, do what Ctrl-C does."""

    def interrupt(*_: object) -> None:
        # A shell starts background jobs with Ctrl-C ignored.
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.raise_signal(signal.SIGINT)

    signal.signal(number, interrupt)
