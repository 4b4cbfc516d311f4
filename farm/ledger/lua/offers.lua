-- offers(): what workers offer, or offered within ELSEWHERE_MS. Answers {{pool, {"memory|models", how many live workers offer it,
-- how many of them are able (lib/workforce.lua), how many of those are idle, ...}}, ...}.
-- uses: full clock workforce
local answer = {}
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  workers_forget_gone(pool)
  local counts = {}
  for _, offer in ipairs(redis.call('ZRANGEBYSCORE', Key.offered(pool), NOW - Setting.ELSEWHERE_MS, '+inf')) do
    counts[#counts + 1] = offer
    for _, key in ipairs({Key.offers(pool), Key.able(pool), Key.free(pool)}) do
      counts[#counts + 1] = redis.call('HGET', key, offer) or '0'
    end
  end
  answer[#answer + 1] = {pool, counts}
end
return answer
