-- offers(): {{pool, {"memory|models", live workers, ...}}, ...} of what workers of each pool offer, or offered lately: then 0.
-- uses: full clock workforce
local answer = {}
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  workers_forget_gone(pool)
  local counts = {}
  for _, offer in ipairs(redis.call('ZRANGEBYSCORE', Key.offered(pool), NOW - Setting.ELSEWHERE_MS, '+inf')) do
    counts[#counts + 1] = offer
    counts[#counts + 1] = redis.call('HGET', Key.offers(pool), offer) or '0'
  end
  answer[#answer + 1] = {pool, counts}
end
return answer
