-- release(id, attempt, gpu_s): hand the attempt back without counting it; the job is queued again at once.
-- Answers {FailOutcome, {permit, pool, ...}}.
-- uses: clock job event queue permit verdict
local id, attempt, gpu_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

local job = job_load(id)
if not job then return {Fail.FENCED, {}} end
if not job_held(job, attempt) then return {attempt_over(job, attempt), {}} end
local pool = job_pool(job)
attempt_end(job, gpu_s)
redis.call('HSET', Key.job(id), 'ended_attempt', attempt)
local outcome = Fail.RETRY
if job.cancelling then
  job_cancelled(job)
  outcome = Fail.CANCELLED
else
  if job.state == State.RUNNING then job_move(job, State.QUEUED) end
  redis.call('HSET', Key.job(id), 'queued_ms', NOW)
  queue_put(job)
  event(job)
end
return {outcome, permit_reserve(pool, {})}
