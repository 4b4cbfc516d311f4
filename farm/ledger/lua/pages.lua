-- pages(): the pages of metrics that are there.
-- uses: clock
return redis.call('ZRANGEBYSCORE', Key.pages(), '(' .. NOW, '+inf')
