-- workers(): {{worker, pool, live_until_ms, facts JSON}, ...} of the live ones.
-- uses: clock
local answer = {}
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  local live = redis.call('ZRANGEBYSCORE', Key.workers(pool), '(' .. NOW, '+inf', 'WITHSCORES')
  for n = 1, #live, 2 do
    answer[#answer + 1] = {live[n], pool, live[n + 1], redis.call('HGET', Key.facts(pool), live[n])}
  end
end
return answer
