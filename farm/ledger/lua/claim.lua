-- claim(pool, worker, loaded lane or '', permit or '', nonce, memory or '', models offered or '', deadline ms):
-- lease the best job of the pool to the worker. Answers {attempt, job as lib/read.lua} or false. O(log n) in queued jobs.
--
-- A higher tier goes first (lib/tier.lua). Within a tier fairness picks the tenant (Key.fair), and the order of its queue the
-- job (Key.queue). The worker may take another one of the first few instead, so that it need not load another model
-- (lib/claim_affinity.lua), because fewer workers hold it (lib/claim_scarce.lua), or because hardly any are left
-- (lib/claim_last.lua). What it may not take is left to others (lib/claim_worker.lua): a job that failed on it, for a while;
-- one that its memory does not hold; one of a model that it does not offer ('': it offers all).
-- uses: late full clock tier job event fair limit queue due permit read verdict headroom
-- uses: claim_worker claim_reach claim_affinity claim_last claim_scarce
-- seldom: answer_again drop take

-- Lease it: its record, its place, its tenant's share.
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

-- Remove from the queue what is not to be claimed. A job whose time is over ends.
local function drop(tenant, id)
  queue_remove(line, tenant, id)
  local job = job_load(id)
  if not job or TERMINAL[job.state] or job_line(job) ~= line then return end
  local why = job.state ~= State.RUNNING and due_over(job)
  if why then job_expired(job, why) end
end

-- The job to take of the line, or nil. On the way it mends what it finds: tenants whom a cap keeps out leave the line, and
-- so do jobs that are not to be claimed.
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

local before = redis.call('GET', Key.claim(nonce))
if before then return answer_again(before) end

if permit ~= '' then redis.call('ZREM', Key.permits(pool), permit) end
queue_promote(pool, Setting.PROMOTED_PER_CLAIM)

if limit_switched('pool', pool) or limit_switched('worker', worker) then return false end
for _, tier in ipairs(TIERS) do
  line, line_tier, any_left = tier_line(pool, tier), tier, false
  local job = nearest()
  if not job and any_left then job = farther() end
  if job then return take(job) end
end
redis.call('SADD', Key.pools(), pool)
return false
