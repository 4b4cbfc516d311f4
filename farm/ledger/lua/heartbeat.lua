-- heartbeat(id, fence, phase or '', progress or '', step, steps, then the next one's six, ...): renew the leases in
-- Key.leases; with a phase, record the progress and tell the tenant's stream. Answers a Verdict for each.
-- uses: full clock job event
local WIDTH = 6

local function beat(id, fence, phase, progress, step, steps)
  local job = job_load(id)
  if not job then return Verdict.LOST end
  if not job_held(job, fence) then
    if job.state == State.CANCELLED and job.fence == fence then return Verdict.CANCEL end
    return Verdict.LOST
  end
  redis.call('ZADD', Key.leases(job_pool(job)), 'XX', NOW + Setting.LEASE_MS, id)
  redis.call('HDEL', Key.job(id), 'graced', 'unheard')
  if phase ~= '' then
    if phase ~= job.phase then redis.call('HSET', Key.job(id), 'phase', phase, 'phase_ms', NOW) end
    if progress ~= '' then redis.call('HSET', Key.job(id), 'progress', progress) end
    redis.call('HSET', Key.job(id), 'step', step, 'steps', steps)
    event(job, {phase = phase, progress = tonumber(progress), step = tonumber(step), steps = tonumber(steps)})
  end
  if job.cancelling then return Verdict.CANCEL end
  return Verdict.GO
end

local verdicts = {}
for at = 1, #ARGV, WIDTH do
  verdicts[#verdicts + 1] = beat(unpack(ARGV, at, at + WIDTH - 1))
end
return verdicts
