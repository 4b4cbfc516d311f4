-- workers(): {{pool, {worker, live_until_ms, ...}}, ...} of the live ones. For operators: it names them all.
-- uses: clock
local answer = {}
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  answer[#answer + 1] = {pool, redis.call('ZRANGEBYSCORE', Key.workers(pool), '(' .. NOW, '+inf', 'WITHSCORES')}
end
return answer
