-- worker_gone(worker, pool): it takes no more jobs.
-- uses: full workforce
workers_forget(ARGV[2], {ARGV[1]})
