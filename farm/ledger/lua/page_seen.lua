-- page_seen(page, ttl_ms): list a page of metrics, "role machine host:port", for ttl_ms more.
-- uses: full clock
redis.call('ZREMRANGEBYSCORE', Key.pages(), '-inf', NOW)
redis.call('ZADD', Key.pages(), NOW + tonumber(ARGV[2]), ARGV[1])
