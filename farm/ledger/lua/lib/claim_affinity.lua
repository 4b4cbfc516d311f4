-- Which job a worker takes instead of the first, so that it need not load another model, and for how long the first may be
-- passed over for that.
-- uses: job fair limit headroom claim_worker claim_reach
-- seldom: near_turn
-- The part of a lane that takes long to load. The LoRAs of its jobs, which follow in its name, are changed in a moment.
local function model_of(lane)
  return string.match(lane, '^[^+]+')
end

-- The first jobs of its queue, and of each what decides: lane, priority, passes, needs. Both read once.
local listed, details = nil, {}
local function shortlist(first)
  listed = listed or redis.call('ZRANGE', Key.queue(line, first.tenant), 0, Setting.AFFINITY_WINDOW - 1)
  return ipairs(listed)
end

local function details_of(id, first)
  if id == first.id then return first.lane, first.priority, first.passes, first.needs end
  details[id] = details[id] or redis.call('HMGET', Key.job(id), 'lane', 'priority', 'passes', 'needs')
  return unpack(details[id])
end

-- AFFINITY_SLACK_S and AFFINITY_PASSES are those of a tenant with up to REACH_ONE renders under way. With more, its turn
-- comes more often, and both grow in proportion: so a tenant waits as long for its turn in a large pool as in a small one.
local REACH_ONE, reaches = 3, {}
local function beyond(value, most, tenant)
  if value <= most then return false end
  reaches[tenant] = reaches[tenant] or math.max(1, redis.call('ZCARD', Key.busy(pool, tenant)) / REACH_ONE)
  return value > most * reaches[tenant]
end

-- Whether a job of the tenant that was passed over so often may not be once more.
local function passed_enough(passes, tenant)
  return beyond(tonumber(passes or 0) + 1, Setting.AFFINITY_PASSES, tenant)
end

-- Whether the first is owed too much for a tenant of this time to go before it.
local function owed_too_much(first, time, own_time)
  return beyond((time - own_time) * fair_weight(first.tenant), Setting.AFFINITY_SLACK_S, first.tenant)
end

-- The job to take instead of the first: one for the loaded lane, else for its model with other LoRAs, unless that passes
-- over a job too often.
local function preferred(first)
  local passed, other, other_passes = {}, nil, 0
  local function instead(id, passes)
    local job = job_load(id)
    if not belongs(job) or left_to_others(job) then return first end
    for n = 1, passes do redis.call('HINCRBY', Key.job(passed[n]), 'passes', 1) end
    return job
  end
  for _, id in shortlist(first) do
    local lane, priority, passes, needs = details_of(id, first)
    -- what is not for this worker is not passed over by it
    if not not_for_here(needs, lane) then
      if tonumber(priority or -1) ~= first.priority then break end
      if lane == loaded then return instead(id, #passed) end
      if not other and lane and model_of(lane) == model_of(loaded) then other, other_passes = id, #passed end
      if passed_enough(passes, first.tenant) then break end
      passed[#passed + 1] = id
    end
  end
  return other and instead(other, other_passes) or first
end

-- Loading another model takes time now, and once more later where a job of the loaded model waits. So where the first tenant's
-- job needs another model, a tenant whose turn is near and whose first job needs the loaded one may go before it: as long as
-- the first tenant is owed no more than AFFINITY_SLACK_S GPU-seconds, and its job was not passed over too often.
-- `turns`: {tenant, its virtual time, ...} in the order of their turns.
local NEAR_MOST = 8  -- tenants; of each but the first the head of its queue alone is looked at
local function near_turn(first, turns)
  local own = preferred(first)
  if Setting.AFFINITY_SLACK_S == 0 or model_of(own.lane) == model_of(loaded) then return own end
  if passed_enough(first.passes, first.tenant) then return own end
  for n = 3, math.min(#turns, 2 * NEAR_MOST), 2 do
    if owed_too_much(first, turns[n + 1], turns[2]) then return own end
    local head = redis.call('ZRANGE', Key.queue(line, turns[n]), 0, 0)[1]
    local lane = head and redis.call('HGET', Key.job(head), 'lane')
    if lane and model_of(lane) == model_of(loaded) and not limit_binds(pool, line_tier, turns[n])
      and not headroom_keeps(pool, line_tier, line, turns[n]) then
      local _, job = first_of(turns[n], head)
      if job and model_of(job.lane) == model_of(loaded) then
        redis.call('HINCRBY', Key.job(first.id), 'passes', 1)
        return job
      end
    end
  end
  return own
end
