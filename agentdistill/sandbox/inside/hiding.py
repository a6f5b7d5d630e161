"""Making this process one that commands of the same user can neither read nor trace."""

_PR_GET_DUMPABLE, _PR_SET_DUMPABLE = 3, 4


def hide() -> None:
    """Give ``/proc/<this process>`` to root and forbid tracing it.

    Raises:
        OSError: the kernel did not do it.
    """
    # The inner half of `ctypes`, which takes a tenth of the time to load.
    from _ctypes import call_function, dlopen, dlsym

    prctl = dlsym(dlopen(None, 2), "prctl")  # type: ignore[arg-type]
    call_function(prctl, (_PR_SET_DUMPABLE, 0, 0, 0, 0))
    if call_function(prctl, (_PR_GET_DUMPABLE, 0, 0, 0, 0)) != 0:
        raise OSError("the agent cannot hide from the commands it runs")
