"""When an agent has been idle for long enough to end."""

from farm.agent.idle_watch import IdleWatch


def test_idle_time_counts_from_the_last_job() -> None:
    watch = IdleWatch(60.0)
    assert not watch.over(100.0, idle=True)
    assert not watch.over(159.0, idle=True)
    assert not watch.over(160.0, idle=False)
    assert not watch.over(161.0, idle=True)
    assert not watch.over(220.0, idle=True)
    assert watch.over(221.0, idle=True)


def test_a_worker_that_stays_is_never_over() -> None:
    watch = IdleWatch(None)
    assert not watch.over(0.0, idle=True)
    assert not watch.over(1e9, idle=True)
