-- Times at which a job that waits changes by itself: one that has not started by its start-by time ends; an economy job becomes a
-- normal one when the end of its window is near, and ends when the window is past. Key.due says when to look at a job.
-- uses: clock job queue
-- The next such time, or nil. `after`: those up to then have been seen to.
local function due_next(job, after)
  local times = {
    job.started_ms == nil and job.start_by_ms or false,
    job.tier == Tier.ECONOMY and job.rises_ms or false,
    not job.cancelling and job.expires_ms or false,
  }
  local first
  for n = 1, 3 do
    if times[n] and times[n] > after and (not first or times[n] < first) then first = times[n] end
  end
  return first
end

local function due_note(job, after)
  local next_ms = due_next(job, after)
  if next_ms then
    redis.call('ZADD', Key.due(), next_ms, job.id)
  else
    redis.call('ZREM', Key.due(), job.id)
  end
end

-- Why the time of a job is over, or nil.
local function due_over(job)
  if job.expires_ms and NOW >= job.expires_ms then return 'it was not finished within its completion window' end
  if job.start_by_ms and not job.started_ms and NOW >= job.start_by_ms then
    return 'it had not started by its start-by time'
  end
end
