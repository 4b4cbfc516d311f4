-- end_failed(id, who, why): an operator ends a job as failed, unbilled. The worker of a running one hears `lost` at its next
-- heartbeat, and the GPU time until now is not charged to the tenant's share. Answers {OperationOutcome, {permit, pool, ...}}.
-- uses: full clock job permit verdict operation
local id, who, why = unpack(ARGV)
local job = job_load(id)
if not job then return {Operation.NOT_FOUND, {}} end
if TERMINAL[job.state] then return {Operation.OVER, {}} end
if job.purchase then return {Operation.BOUGHT, {}} end
local pool = job_pool(job)
operation_note(who, why, 'fail', 'job ' .. id, job.state, State.FAILED)
if redis.call('ZSCORE', Key.leases(pool), id) then attempt_end(job, 0) end
job_end(job, State.FAILED, Fault.ENDED_BY_OPERATOR, 'ended by the operator: ' .. why)
return {Operation.DONE, permit_reserve(pool, {})}
