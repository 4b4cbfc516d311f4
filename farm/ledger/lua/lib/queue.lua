-- Where a job that is not running stands: in its tenant's queue of the pool, or delayed until it may be tried again.
-- uses: clock job fair
local function queue_score(job)
  return (9 - job.priority) * 4398046511104 + (job.deadline_ms or 4398046511103)
end

local function queue_put(job)
  local pool = job_pool(job)
  redis.call('SADD', Key.pools(), pool)
  redis.call('ZADD', Key.queue(pool, job.tenant), queue_score(job), job.id)
  fair_enter(pool, job.tenant)
end

local function queue_remove(pool, tenant, id)
  redis.call('ZREM', Key.queue(pool, tenant), id)
  if redis.call('EXISTS', Key.queue(pool, tenant)) == 0 then fair_leave(pool, tenant) end
end

local function queue_delay(job, ready_ms)
  local pool = job_pool(job)
  redis.call('SADD', Key.pools(), pool)
  redis.call('ZADD', Key.delayed(pool), ready_ms, job.id)
  redis.call('HSET', Key.job(job.id), 'not_before_ms', ready_ms)
end

-- Take the job out of wherever it waits or is leased.
local function queue_leave(job)
  local pool = job_pool(job)
  queue_remove(pool, job.tenant, job.id)
  redis.call('ZREM', Key.delayed(pool), job.id)
  redis.call('ZREM', Key.leases(pool), job.id)
end

-- Queue the delayed jobs of the pool whose time has come, the earliest first. Returns how many.
local function queue_promote(pool, limit)
  local due = redis.call('ZRANGEBYSCORE', Key.delayed(pool), '-inf', NOW, 'LIMIT', 0, limit)
  local promoted = 0
  for _, id in ipairs(due) do
    redis.call('ZREM', Key.delayed(pool), id)
    local job = job_load(id)
    if job and not TERMINAL[job.state] and job.state ~= State.RUNNING and job_pool(job) == pool then
      redis.call('HDEL', Key.job(id), 'not_before_ms')
      queue_put(job)
      promoted = promoted + 1
    end
  end
  return promoted
end
