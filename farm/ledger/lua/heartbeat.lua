-- heartbeat(id, fence, phase or '', progress or '', step, steps, then the next one's six, ...): renew the leases in
-- Key.leases; with a phase, record the progress and tell the tenant's stream. Answers a Verdict for each.
-- uses: full clock job event
local WIDTH = 6
-- what a heartbeat looks at, in a record of some thirty fields
local READ = {'state', 'attempt', 'nonce', 'pool', 'purchase', 'phase', 'cancelling', 'graced', 'unheard', 'tenant',
  'label', 'batch', 'held_for'}

local function load(id)
  local job = {id = id}
  for n, value in ipairs(redis.call('HMGET', Key.job(id), unpack(READ))) do job[READ[n]] = value or nil end
  if not job.state then return nil end
  job.attempt = tonumber(job.attempt or 0)
  job.fence = fence_of(job.attempt, job.nonce)
  return job
end

local function beat(id, fence, phase, progress, step, steps)
  local job = load(id)
  if not job then return Verdict.LOST end
  if not job_held(job, fence) then
    if job.state == State.CANCELLED and job.fence == fence then return Verdict.CANCEL end
    return Verdict.LOST
  end
  redis.call('ZADD', Key.leases(job_pool(job)), 'XX', NOW + Setting.LEASE_MS, id)
  if job.graced or job.unheard then redis.call('HDEL', Key.job(id), 'graced', 'unheard') end
  if phase ~= '' then
    local news = {'step', step, 'steps', steps}
    local function tell(field, value) news[#news + 1], news[#news + 2] = field, value end
    if phase ~= job.phase then
      tell('phase', phase)
      tell('phase_ms', NOW)
    end
    if progress ~= '' then tell('progress', progress) end
    redis.call('HSET', Key.job(id), unpack(news))
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
