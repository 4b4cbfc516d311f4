-- fail(id, fence, FaultCode, message, gpu_s): the attempt failed: the job is queued again, or ends.
-- Answers {FailOutcome, {permit, pool, ...}}.
-- uses: full clock job permit verdict depend
local id, fence, code, message, gpu_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4], tonumber(ARGV[5])

local job = job_load(id)
if not job then return {Fail.FENCED, {}} end
if not job_held(job, fence) then return {attempt_over(job, fence), {}} end
local pool = job_pool(job)
attempt_end(job, gpu_s)
redis.call('HSET', Key.job(id), 'ended_attempt', fence)
if job.state == State.RUNNING and job.worker then redis.call('HSET', Key.job(id), 'failed_on', job.worker) end
if code == Fault.CANCELLED then job.cancelling = job.cancelling or '1' end
local outcome = attempt_failed(job, code, message)
depend_work(Setting.CHILDREN_AT_ONCE)
return {outcome, permit_reserve(pool, {})}
