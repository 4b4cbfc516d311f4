-- move(id, pool, who, why): an operator moves a job that is not running to another pool, one that was used before. The job keeps
-- its tier, its priority and its hold. Answers {OperationOutcome, {permit, pool, ...}}.
-- uses: full clock job event queue due permit operation
local id, pool, who, why = unpack(ARGV)
local job = job_load(id)
if not job then return {Operation.NOT_FOUND, {}} end
if TERMINAL[job.state] then return {Operation.OVER, {}} end
if job.purchase then return {Operation.BOUGHT, {}} end
if job.state == State.RUNNING then return {Operation.RUNNING, {}} end
local renders = pool ~= Setting.INTAKE_POOL and pool ~= Setting.BURST_POOL
if not renders or redis.call('SISMEMBER', Key.pools(), pool) == 0 then return {Operation.NO_POOL, {}} end
operation_note(who, why, 'move', 'job ' .. id, job.pool, pool)
if job.pool == pool then return {Operation.UNCHANGED, {}} end
local waits = job.state == State.QUEUED
if waits then
  queue_remove(job_line(job), job.tenant, id, job.predicted_s)
  redis.call('ZREM', Key.delayed(job.pool), id)
  redis.call('ZREM', Key.held(job.pool), id)
end
job.pool = pool
redis.call('HSET', Key.job(id), 'pool', pool)
if waits then queue_again(job) end
event(job)
return {Operation.DONE, permit_reserve(job_pool(job), {})}
