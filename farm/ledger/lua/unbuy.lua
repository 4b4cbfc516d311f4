-- unbuy(id, fence): nothing was bought, or the purchase failed: the job is queued in its own pool again,
-- uncounted. Answers {FailOutcome, {permit, pool, ...}}.
-- uses: full clock job event queue permit verdict
local id, fence = ARGV[1], ARGV[2]

local job = job_load(id)
if not job then return {Fail.FENCED, {}} end
if not job.purchase or not job_held(job, fence) then return {attempt_over(job, fence), {}} end
attempt_end(job, 0)
redis.call('HSET', Key.job(id), 'ended_attempt', fence)
redis.call('HDEL', Key.job(id), 'purchase', 'purchase_id')
job.purchase = nil
if job.cancelling then
  job_cancelled(job)
  return {Fail.CANCELLED, {}}
end
job_move(job, State.QUEUED)
redis.call('HSET', Key.job(id), 'queued_ms', NOW)
queue_put(job)
event(job)
return {Fail.RETRY, permit_reserve(job.pool, {})}
