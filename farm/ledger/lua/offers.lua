-- offers(): what workers offer, or offered within ELSEWHERE_MS. Answers {{pool, {"memory|models", how many live workers offer it,
-- how many of them are able (lib/workforce.lua), how many of those are idle, how many of the live ones are locked, ...}}, ...}.
-- uses: full clock workforce
-- Locked workers of a pool that are looked at. Of more, none is told here: no call takes Redis long.
local LOCKED_MOST = 1000

local function locked_by_offer(pool)
  local counts = {}
  local known = redis.call('HLEN', Key.locked(pool))
  if known == 0 or known > LOCKED_MOST then return counts end
  for _, note in ipairs(redis.call('HMGET', Key.notes(pool), unpack(redis.call('HKEYS', Key.locked(pool))))) do
    local offer = note and string.match(note, '^%d+ %S+ [012] (.*)$')
    if offer then counts[offer] = (counts[offer] or 0) + 1 end
  end
  return counts
end

local answer = {}
for _, pool in ipairs(redis.call('SMEMBERS', Key.pools())) do
  workers_forget_gone(pool)
  local counts, locked = {}, locked_by_offer(pool)
  for _, offer in ipairs(redis.call('ZRANGEBYSCORE', Key.offered(pool), NOW - Setting.ELSEWHERE_MS, '+inf')) do
    counts[#counts + 1] = offer
    for _, key in ipairs({Key.offers(pool), Key.able(pool), Key.free(pool)}) do
      counts[#counts + 1] = redis.call('HGET', key, offer) or '0'
    end
    counts[#counts + 1] = locked[offer] or 0
  end
  answer[#answer + 1] = {pool, counts}
end
return answer
