-- pages(): the pages of metrics that are listed now (page_seen.lua).
-- uses: clock
return redis.call('ZRANGEBYSCORE', Key.pages(), '(' .. NOW, '+inf')
