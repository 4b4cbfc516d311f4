-- claim(pool, worker, loaded lane or '', permit or '', nonce, memory or '', models offered or '', deadline ms):
-- lease the best job of the pool to the worker. A higher tier goes first (lib/tier.lua), then fairness picks the tenant (Key.fair), the order of its queue the job (Key.queue); the loaded lane may be preferred
-- among the first few of the same priority. A job that failed on this worker is left to the others of the pool for a
-- while, one that its memory does not hold to those that do, and one of a model that it does not offer to whoever does
-- ('': it offers all). Answers {attempt, job as lib/read.lua} or false.
-- O(log n) in queued jobs.
-- uses: late full clock age tier job event fair fits limit queue due permit read verdict workforce headroom
-- seldom: answer_again drop take near_turn last_ones farther
local pool, worker, loaded, permit, nonce, memory, models = unpack(ARGV)

-- The line that is looked at: a tier of the pool.
local line, line_tier

local function belongs(job)
  if not job or job_line(job) ~= line then return false end
  if job.state ~= State.RUNNING and due_over(job) then return false end
  if job.state == State.RUNNING then return job.purchase ~= nil end
  return (job.state == State.QUEUED or job.state == State.WAITING) and not queue_stopped(job)
end

-- Whether anything was left to other workers.
local any_left = false

-- Whether another live worker of the pool takes jobs. Asked at most once, and only when a job failed here.
local others
local function has_others()
  if others == nil then
    others = workers_slots(pool) > worker_slots(pool, worker)
  end
  return others
end

-- Asked once for equal needs: the shots of a batch have them in common.
local too_large = {}
local function too_large_here(needs)
  if not needs then return false end
  if too_large[needs] == nil then too_large[needs] = not fits(needs, memory) and fits_another(needs, pool, worker) end
  any_left = any_left or too_large[needs]
  return too_large[needs]
end

local offered
for model in string.gmatch(models, '%S+') do
  offered = offered or {}
  offered[model] = true
end

local RENDERS = pool ~= Setting.INTAKE_POOL and pool ~= Setting.BURST_POOL

-- The worker does not offer its model, or an operator paused the lane, or the model of all its lanes. Asked once for
-- each lane. A lane begins with its model's id (models.catalog.lane_of).
local closed = {}
local function not_offered(lane)
  if not lane then return false end
  if closed[lane] == nil then
    local model = string.match(lane, '^[^@+]*')
    closed[lane] = offered ~= nil and not offered[model]
      or RENDERS and (limit_switched('lane', lane) or limit_switched('lane', model))
  end
  any_left = any_left or closed[lane]
  return closed[lane]
end

local function not_for_here(needs, lane)
  return too_large_here(needs) or not_offered(lane)
end

-- A bad device must not eat all the attempts of a job.
local function left_to_others(job)
  local left = job.failed_on == worker and within(job.queued_ms, Setting.ELSEWHERE_MS) and has_others()
  any_left = any_left or left
  return left
end

-- The id of the tenant's first job that this worker may take, and the job; the id alone when it is stale. What is too
-- large for it is passed over farther than what failed on it: it may be a whole batch. `head`: the first of its queue,
-- where the caller knows it.
local function first_of(tenant, head)
  head = head or redis.call('ZRANGE', Key.queue(line, tenant), 0, 0)[1]
  if not head then return end
  local first = job_load(head)
  -- nearly always it is the first
  if first and not not_for_here(first.needs, first.lane) and belongs(first) and not left_to_others(first) then
    return head, first
  end
  local looked = 0
  for at = 0, 4 * Setting.AFFINITY_WINDOW - 1, Setting.AFFINITY_WINDOW do
    local ids = redis.call('ZRANGE', Key.queue(line, tenant), at, at + Setting.AFFINITY_WINDOW - 1)
    for n, id in ipairs(ids) do
      -- of what stands behind only what decides is read
      local job = at == 0 and n == 1 and first
      local needs, lane
      if job then
        needs, lane = job.needs, job.lane
      else
        needs, lane = unpack(redis.call('HMGET', Key.job(id), 'needs', 'lane'))
      end
      if not not_for_here(needs, lane) then
        job = job or job_load(id)
        if not belongs(job) then return id end
        if not left_to_others(job) then return id, job end
        looked = looked + 1
        if looked == Setting.AFFINITY_WINDOW then return end
      end
    end
    if #ids < Setting.AFFINITY_WINDOW then return end
  end
end

-- What has to be loaded of a lane: LoRAs of jobs, which follow, are changed in a moment.
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

-- Tenant -> jobs of its queue, where they were counted.
local queued_before = {}

local function take(job)
  local key, until_ms = Key.job(job.id), NOW + Setting.LEASE_MS
  queue_remove(line, job.tenant, job.id, job.predicted_s, (queued_before[job.tenant] or 0) > 1)
  fair_charge(job, line)
  job.attempt = job.attempt + 1
  redis.call('ZADD', Key.leases(pool), until_ms, job.id)
  redis.call('SET', Key.claim(nonce), job.id .. ' ' .. job.attempt, 'PX', Setting.CLAIM_MEMORY_MS)
  local record = {'attempt', job.attempt, 'nonce', nonce, 'worker', worker, 'unheard', (job.unheard or 0) + 1}
  local function also(name, value)
    record[#record + 1] = name
    record[#record + 1] = value
  end
  local starts = job.state == State.QUEUED
  if starts then
    also('started_ms', NOW)
    if loaded == '' then also('cold', 1) end
    also('phase', Phase.ASSIGNED)
    also('phase_ms', NOW)
  end
  local told = job_leased(job, starts and State.RUNNING or job.state, record, until_ms)
  -- the rest is for scripts alone
  if job.charged_s then also('charged_s', job.charged_s) end
  if job.vlifted then also('vlifted', job.vlifted) end
  if starts then job_move(job, State.RUNNING, record) else redis.call('HSET', key, unpack(record)) end
  if job.passes then redis.call('HDEL', key, 'passes') end
  if starts then
    redis.call('ZADD', Key.busy(pool, job.tenant), NOW, job.id)
    limit_taken(pool, job.tenant)
    event(job, {phase = Phase.ASSIGNED, progress = 0})
  end
  return {job.attempt, told}
end

-- The same call again after a lost reply: the same lease, if it still is one.
local function answer_again(before)
  local id, attempt = string.match(before, '^(%S+) (%d+)$')
  local job = job_load(id)
  if job and job_held(job, fence_of(attempt, nonce)) then return {job.attempt, job_read(id)} end
  return false
end

local before = redis.call('GET', Key.claim(nonce))
if before then return answer_again(before) end

if permit ~= '' then redis.call('ZREM', Key.permits(pool), permit) end
queue_promote(pool, Setting.PROMOTED_PER_CLAIM)

-- What is not to be claimed stands no longer in the queue.
local function drop(tenant, id)
  queue_remove(line, tenant, id)
  local job = job_load(id)
  if not job or TERMINAL[job.state] or job_line(job) ~= line then return end
  local why = job.state ~= State.RUNNING and due_over(job)
  if why then job_expired(job, why) end
end

-- A switch to another model costs a load now and, where a job of the loaded one waits, another load later. That is weighed
-- against the turn of the tenant, where its first job is of another lane: one whose turn is near goes before the first, for
-- as long as the first is owed no more than AFFINITY_SLACK_S GPU-seconds and its job was not passed over too often.
-- `turns`: tenants and their times, the first's first.
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

-- The last jobs of a line, where no more wait than run: the longest first, so that the workers finish together. Of tenants
-- whose turn is near, of the first's needs and of each tenant's first priority and deadline; one of the loaded model before
-- any other. Not where a lower tier goes on, and no job is passed over often for that: where work trickles, all are the last.
local LAST_MOST, LAST_PASSES = 64, math.min(4, Setting.AFFINITY_PASSES)
local function last_ones(first, turns)
  if not RENDERS or #turns > 2 * NEAR_MOST or (first.passes or 0) >= LAST_PASSES then return end
  local waits = redis.call('ZCARD', Key.queue(line, first.tenant))
  queued_before[first.tenant] = waits
  if waits > LAST_MOST then return end
  local most = math.min(LAST_MOST, redis.call('ZCARD', Key.leases(pool)) + 1)
  for n = 3, #turns, 2 do
    if waits > most then return end
    waits = waits + redis.call('ZCARD', Key.queue(line, turns[n]))
  end
  if waits == 1 or waits > most then return end
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
    for m = 1, #waiting, 2 do
      if waiting[m + 1] == waiting[2] then look(waiting[m]) end
    end
  end
  if best == first.id then return first end
  local job = best and job_load(best)
  if not job or not belongs(job) or left_to_others(job) then return end
  redis.call('HINCRBY', Key.job(first.id), 'passes', 1)
  return job
end

-- In a pool of unequal workers one prefers, among the tenant's first jobs of the same priority, what fewest live workers
-- hold: so the large card is there for the large shot. A job is passed over for that as seldom as for a lane.
local function scarcer(first)
  if memory == '' or (first.passes or 0) >= Setting.AFFINITY_PASSES then return end
  if redis.call('HLEN', Key.offers(pool)) <= 1 then return end  -- all workers are alike
  local offers = redis.call('HGETALL', Key.offers(pool))
  local known = {}
  local function holders(needs)
    if not known[needs] then
      known[needs] = 0
      for n = 1, #offers, 2 do
        local theirs = offer_parts(offers[n])
        if fits(needs, theirs) then known[needs] = known[needs] + tonumber(offers[n + 1]) end
      end
    end
    return known[needs]
  end
  local fewest, best = holders(first.needs or ''), nil
  for _, id in shortlist(first) do
    local lane, priority, _, needs = details_of(id, first)
    if not not_for_here(needs, lane) then
      if tonumber(priority or -1) ~= first.priority then break end
      if holders(needs or '') < fewest then fewest, best = holders(needs or ''), id end
    end
  end
  local job = best and job_load(best)
  if not job or not belongs(job) or left_to_others(job) then return end
  redis.call('HINCRBY', Key.job(first.id), 'passes', 1)
  return job
end

local looks = Setting.STALE_PER_CLAIM
local function nearest()
  local left = 0  -- tenants of which everything in reach is left to others
  while looks > 0 do
    looks = looks - 1
    local turns = redis.call('ZRANGE', Key.fair(line), left, left + NEAR_MOST, 'WITHSCORES')
    local tenant = turns[1]
    if not tenant or left > Setting.AFFINITY_WINDOW then return end
    if limit_binds(pool, line_tier, tenant) then
      limit_aside(line, tenant)
    elseif headroom_keeps(pool, line_tier, line, tenant) then
      left = left + 1
    else
      local id, job = first_of(tenant)
      if job then
        return scarcer(job) or last_ones(job, turns) or (loaded == '' or job.lane == loaded) and job or near_turn(job, turns)
      end
      if id then
        drop(tenant, id)
      elseif redis.call('EXISTS', Key.queue(line, tenant)) == 1 then
        left = left + 1
      else
        fair_leave(line, tenant)
      end
    end
  end
end

-- What stands further behind: a stretch at each claim, from where the last one came to, tenant by tenant in the order of
-- their names and round again. So a worker idles behind any number of them for a few claims and no longer.
local function farther()
  local tenants = redis.call('ZRANGE', Key.fair(line), 0, -1)
  if not tenants[1] then return end
  table.sort(tenants)
  local offset, marked = string.match(redis.call('GET', Key.bookmark(line, worker)) or '0 ', '^(%d+) (.*)$')
  local at, found = 1, nil
  while at < #tenants and tenants[at] < marked do at = at + 1 end
  if tenants[at] ~= marked then offset = 0 end
  offset = tonumber(offset)
  local budget, ends = Setting.STALE_PER_CLAIM, 0
  while budget > 0 and ends <= #tenants and not found do
    local ids = redis.call('ZRANGE', Key.queue(line, tenants[at]), offset, offset + budget - 1)
    for n, id in ipairs(ids) do
      local job = not not_for_here(unpack(redis.call('HMGET', Key.job(id), 'needs', 'lane'))) and job_load(id)
      if job and belongs(job) and not left_to_others(job)
        and not headroom_keeps(pool, line_tier, line, tenants[at]) then
        found, ids = job, {unpack(ids, 1, n - 1)}
        break
      end
    end
    offset, budget = offset + #ids, budget - #ids
    if budget > 0 and not found then at, offset, ends = at % #tenants + 1, 0, ends + 1 end
  end
  redis.call('SET', Key.bookmark(line, worker), offset .. ' ' .. tenants[at], 'PX', Setting.ELSEWHERE_MS + 1)
  return found
end

if limit_switched('pool', pool) or limit_switched('worker', worker) then return false end
for _, tier in ipairs(TIERS) do
  line, line_tier, any_left = tier_line(pool, tier), tier, false
  local job = nearest()
  if not job and any_left then job = farther() end
  if job then return take(job) end
end
redis.call('SADD', Key.pools(), pool)
return false
