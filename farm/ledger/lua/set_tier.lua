-- set_tier(id, tier, who, why): an operator moves a job that is not running to this tier. Answers
-- {OperationOutcome, {permit, pool, ...}}.
-- uses: full clock job event queue due permit operation
local id, tier, who, why = unpack(ARGV)
local job = job_load(id)
if not job then return {Operation.NOT_FOUND, {}} end
if TERMINAL[job.state] then return {Operation.OVER, {}} end
if job.state == State.RUNNING then return {Operation.RUNNING, {}} end
local before = job.tier or Tier.NORMAL
operation_note(who, why, 'tier', 'job ' .. id, before, tier)
if before == tier then return {Operation.UNCHANGED, {}} end
local queued = redis.call('ZSCORE', Key.queue(job_line(job), job.tenant), id)
if queued then queue_remove(job_line(job), job.tenant, id) end
job.tier = tier
redis.call('HSET', Key.job(id), 'tier', tier)
if queued then queue_put(job) end
due_note(job, 0)
event(job)
return {Operation.DONE, permit_reserve(job_pool(job), {})}
