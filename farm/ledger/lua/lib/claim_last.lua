-- The order of the last jobs of a line.
-- uses: tier job limit headroom claim_worker claim_affinity
-- seldom: last_ones
-- Tenant -> how many jobs its queue has, where they were counted.
local queued_before = {}

-- Where no more jobs wait in a line than run in the pool, the longest is taken first, so that the workers finish at about the
-- same time; one of the loaded model before any other. It is looked for among tenants whose turn is near, and among jobs with
-- the needs of the first one, and with the priority and the deadline that are first in their queue. Not where a lower tier
-- has jobs: the workers go on with those. A job is passed over for this LAST_PASSES times, more often where many jobs of its
-- tenant run (`beyond`): where jobs come one by one, each of them is among the last. Of many last jobs each claim looks at
-- LOOKED, and the next claim at others.
local LAST_MOST, LOOKED, LAST_PASSES = 1024, 64, math.min(4, Setting.AFFINITY_PASSES)
local function last_ones(first, turns)
  if not RENDERS or #turns > 2 * NEAR_MOST or beyond((first.passes or 0) + 1, LAST_PASSES, first.tenant) then return end
  local waits = redis.call('ZCARD', Key.queue(line, first.tenant))
  queued_before[first.tenant] = waits
  if waits > LAST_MOST then return end
  local most = math.min(LAST_MOST, redis.call('ZCARD', Key.leases(pool)) + 1)
  for n = 3, #turns, 2 do
    if waits > most then return end
    waits = waits + redis.call('ZCARD', Key.queue(line, turns[n]))
  end
  if waits == 1 or waits > most then return end
  local step = math.ceil(waits / LOOKED)
  if line_tier ~= Tier.ECONOMY and redis.call('EXISTS', Key.fair(tier_line(pool, Tier.ECONOMY))) == 1 then return end
  local best, best_warm, longest
  local function look(id)
    local lane, needs, predicted_s = unpack(redis.call('HMGET', Key.job(id), 'lane', 'needs', 'predicted_s'))
    if not lane or (needs or '') ~= (first.needs or '') or not_for_here(needs, lane) then return end
    local warm = loaded ~= '' and model_of(lane) == model_of(loaded)
    predicted_s = tonumber(predicted_s or 0)
    if not best or warm and not best_warm or warm == best_warm and predicted_s > longest then
      best, best_warm, longest = id, warm, predicted_s
    end
  end
  for n = 1, #turns, 2 do
    local tenant, keeps = turns[n], nil
    if owed_too_much(first, turns[n + 1], turns[2]) then break end
    if n > 1 then keeps = limit_binds(pool, line_tier, tenant) or headroom_keeps(pool, line_tier, line, tenant) end
    local waiting = keeps and {} or redis.call('ZRANGE', Key.queue(line, tenant), 0, -1, 'WITHSCORES')
    for m = 1 + 2 * (NOW % step), #waiting, 2 * step do
      if waiting[m + 1] == waiting[2] then look(waiting[m]) end
    end
  end
  if best == first.id then return first end
  local job = best and job_load(best)
  if not job or not belongs(job) or left_to_others(job) then return end
  redis.call('HINCRBY', Key.job(first.id), 'passes', 1)
  return job
end
