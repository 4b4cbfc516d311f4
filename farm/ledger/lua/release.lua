-- release(id, fence, gpu_s, delay_ms): end the attempt without counting it. After delay_ms the job is queued again; a bought one
-- stays bought, and another process resumes it then. Answers {FailOutcome, {permit, pool, ...}}.
-- uses: full clock job event queue permit verdict
local id, fence, gpu_s, delay_ms = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])

local job = job_load(id)
if not job then return {Fail.FENCED, {}} end
if not job_held(job, fence) then return {attempt_over(job, fence), {}} end
local pool = job_pool(job)
if not job.purchase then attempt_end(job, gpu_s) end
redis.call('HSET', Key.job(id), 'ended_attempt', fence)
local outcome = attempt_returned(job, delay_ms)
return {outcome, permit_reserve(pool, {})}
