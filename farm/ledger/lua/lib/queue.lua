-- Where a job is listed that waits: in its tenant's queue of the line, delayed until its retry, or held for as long as its record
-- names a reason (held_for: farm.jobs.states.HoldReason, with spaces between).
-- uses: clock job fair limit
-- seldom: queue_these

-- Whether a reason keeps the job from starting. Any reason keeps a queued job from it, but only some (HOLDS_INTAKE) keep the
-- inputs of a waiting one from being fetched. A running job goes on.
local function queue_stopped(job)
  if not job.held_for then return false end
  if job.state ~= State.WAITING then return job.state == State.QUEUED end
  for reason in string.gmatch(job.held_for, '%S+') do
    if string.find(Text.HOLDS_INTAKE, ' ' .. reason .. ' ', 1, true) then return true end
  end
  return false
end

local function queue_hold(job)
  redis.call('ZADD', Key.held(job_pool(job)), 'NX', NOW, job.id)
end

-- Scores of a priority: a deadline in ms until the year 2109 fits in; a later one, and none, comes last.
local QUEUE_BAND = 4398046511104

local function queue_score(job)
  return (9 - job.priority) * QUEUE_BAND + math.min(job.deadline_ms or QUEUE_BAND, QUEUE_BAND - 1)
end

-- Count a job in or out of Key.backlog, the GPU-milliseconds that the tenant's queue is predicted to take. They are shown; no rule
-- reads them. `predicted_s`: read from the record where the caller does not know it.
local function queue_count(line, tenant, id, sign, predicted_s)
  predicted_s = predicted_s or tonumber(redis.call('HGET', Key.job(id), 'predicted_s') or 0)
  -- + 0: what has no record weighs 0, and minus 0 is no integer to Redis 7.0
  redis.call('HINCRBY', Key.backlog(line), tenant, sign * math.floor(1000 * predicted_s + 0.5) + 0)
end

-- An economy job becomes a normal one when the end of its window is near. Call it only while the job is in no queue.
local function queue_rise(job)
  if job.tier ~= Tier.ECONOMY or not job.rises_ms or NOW < job.rises_ms then return end
  job.tier = Tier.NORMAL
  redis.call('HSET', Key.job(job.id), 'tier', job.tier)
end

local function queue_put(job)
  local pool = job_pool(job)
  redis.call('SADD', Key.pools(), pool)
  if queue_stopped(job) then return queue_hold(job) end
  queue_rise(job)
  local line = job_line(job)
  if redis.call('ZADD', Key.queue(line, job.tenant), queue_score(job), job.id) == 1 then
    queue_count(line, job.tenant, job.id, 1, job.predicted_s)
  end
  limit_enter(line, job.tenant)
end

-- `others`: true where the caller knows that other jobs stand in this queue.
local function queue_remove(line, tenant, id, predicted_s, others)
  if redis.call('ZREM', Key.queue(line, tenant), id) == 1 then queue_count(line, tenant, id, -1, predicted_s) end
  if not others and redis.call('EXISTS', Key.queue(line, tenant)) == 0 then
    redis.call('HDEL', Key.backlog(line), tenant)
    fair_leave(line, tenant)
  end
end

local function queue_delay(job, ready_ms)
  local pool = job_pool(job)
  redis.call('SADD', Key.pools(), pool)
  redis.call('HSET', Key.job(job.id), 'not_before_ms', ready_ms)
  if queue_stopped(job) then return queue_hold(job) end
  redis.call('ZADD', Key.delayed(pool), ready_ms, job.id)
end

-- A job that was held is queued again, or delayed where its retry is not due yet.
local function queue_again(job)
  local ready_ms = tonumber(redis.call('HGET', Key.job(job.id), 'not_before_ms') or 0)
  if ready_ms > NOW then return queue_delay(job, ready_ms) end
  redis.call('HDEL', Key.job(job.id), 'not_before_ms')
  queue_put(job)
end

-- Remove the job from queue, delay, hold and leases.
local function queue_leave(job)
  local pool = job_pool(job)
  queue_remove(job_line(job), job.tenant, job.id, job.predicted_s)
  redis.call('ZREM', Key.delayed(pool), job.id)
  redis.call('ZREM', Key.leases(pool), job.id)
  redis.call('ZREM', Key.held(pool), job.id)
end

-- Add the reason to those of the job, or remove it: in the job, its record and the lists of reasons.
local function queue_reasons(job, reason, added)
  local reasons = {}
  for one in string.gmatch(job.held_for or '', '%S+') do
    if one ~= reason then reasons[#reasons + 1] = one end
  end
  if added then reasons[#reasons + 1] = reason end
  table.sort(reasons)
  job.held_for = reasons[1] and table.concat(reasons, ' ')
  if job.held_for then
    redis.call('HSET', Key.job(job.id), 'held_for', job.held_for)
    redis.call('HSETNX', Key.job(job.id), 'held_ms', NOW)
  else
    redis.call('HDEL', Key.job(job.id), 'held_for', 'held_ms')
  end
  local lists = {Key.holds(job.tenant, reason), job.batch and Key.batch_holds(job.batch, reason)}
  for _, list in ipairs(lists) do
    if added then redis.call('ZADD', list, 0, job.id) else redis.call('ZREM', list, job.id) end
  end
end

-- A job that is over has no reason to be held.
local function queue_forget_reasons(job)
  for reason in string.gmatch(job.held_for or '', '%S+') do queue_reasons(job, reason, false) end
end

-- Take these jobs out of the delay, and queue those that still belong into a queue. Answers how many.
local function queue_these(pool, ids)
  local promoted = 0
  for _, id in ipairs(ids) do
    redis.call('ZREM', Key.delayed(pool), id)
    local job = job_load(id)
    if job and not TERMINAL[job.state] and (job.state ~= State.RUNNING or job.purchase) and job_pool(job) == pool then
      redis.call('HDEL', Key.job(id), 'not_before_ms')
      queue_put(job)
      promoted = promoted + 1
    end
  end
  return promoted
end

-- Queue delayed jobs of the pool whose time has come, the earliest first, `limit` at most. Answers how many.
local function queue_promote(pool, limit)
  local due = redis.call('ZRANGEBYSCORE', Key.delayed(pool), '-inf', NOW, 'LIMIT', 0, limit)
  return due[1] and queue_these(pool, due) or 0
end
