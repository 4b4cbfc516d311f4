-- worker_gone(worker, pool): it takes no more jobs.
-- uses: full
redis.call('ZREM', Key.workers(ARGV[2]), ARGV[1])
redis.call('HDEL', Key.facts(ARGV[2]), ARGV[1])
redis.call('HDEL', Key.slots(ARGV[2]), ARGV[1])
