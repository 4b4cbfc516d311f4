-- Reasons to hold a job. Adding one and removing one answer a HoldOutcome.
-- uses: clock job event queue
local function held_has(job, reason)
  return string.find(' ' .. (job.held_for or '') .. ' ', ' ' .. reason .. ' ', 1, true) ~= nil
end

-- Add a reason: the job does not start while it has one, and stands in Key.held instead of a queue. A job that is running, or whose
-- inputs are being fetched, goes on; its retry is held.
local function held_add(job, reason)
  if not job then return Hold.NOT_FOUND end
  if TERMINAL[job.state] then return Hold.OVER end
  local known = held_has(job, reason)
  if not known then queue_reasons(job, reason, true) end
  if job.state == State.RUNNING or redis.call('ZSCORE', Key.leases(job_pool(job)), job.id) then return Hold.RUNNING end
  if queue_stopped(job) then
    redis.call('SADD', Key.pools(), job_pool(job))
    queue_hold(job)
    queue_remove(job_line(job), job.tenant, job.id)
    redis.call('ZREM', Key.delayed(job_pool(job)), job.id)
  end
  if not known then event(job) end
  return Hold.HELD
end

-- Remove a reason. A job that has no other is queued again, and its pool is noted in `pools`.
local function held_remove(job, reason, pools)
  if not job then return Hold.NOT_FOUND end
  if TERMINAL[job.state] then return Hold.OVER end
  local known = held_has(job, reason)
  if known then queue_reasons(job, reason, false) end
  if not queue_stopped(job) and redis.call('ZREM', Key.held(job_pool(job)), job.id) == 1 then
    queue_again(job)
    pools[job_pool(job)] = true
  end
  if known then event(job) end
  if job.held_for then return Hold.HELD end
  return Hold.FREE
end
