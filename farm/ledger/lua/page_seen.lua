-- page_seen(page, ttl_ms): a page of metrics, "role machine host:port", is there for ttl_ms.
-- uses: full clock
redis.call('ZREMRANGEBYSCORE', Key.pages(), '-inf', NOW)
redis.call('ZADD', Key.pages(), NOW + tonumber(ARGV[2]), ARGV[1])
