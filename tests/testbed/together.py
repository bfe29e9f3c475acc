"""Doing the same thing from several threads at once."""

import threading
from collections.abc import Callable


def at_once(do: Callable[[], object], *, times: int) -> list[BaseException]:
    """Call it from so many threads that begin together; what they raised."""
    barrier = threading.Barrier(times)
    errors: list[BaseException] = []

    def one() -> None:
        try:
            barrier.wait(120)
            do()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
