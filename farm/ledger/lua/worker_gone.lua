-- worker_gone(worker, pool): the worker takes no more jobs, and is not counted any more.
-- uses: full workforce
workers_forget(ARGV[2], {ARGV[1]})
