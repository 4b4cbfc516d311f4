-- hold(HoldReason, id, ...): these jobs do not start while they have this reason; they move from queue and delay to
-- Key.held. A running job, or one in intake, goes on; its retry is held. Answers a HoldOutcome for each.
-- uses: full clock job event queue
local reason = ARGV[1]

local function hold(job)
  if not job then return Hold.NOT_FOUND end
  if TERMINAL[job.state] then return Hold.OVER end
  local known = string.find(' ' .. (job.held_for or '') .. ' ', ' ' .. reason .. ' ', 1, true)
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

local answers = {}
for n = 2, #ARGV do answers[n - 1] = hold(job_load(ARGV[n])) end
return answers
