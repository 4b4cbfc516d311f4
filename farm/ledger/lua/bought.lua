-- bought(id, nonce, the provider's id): the submission that `nonce` names arrived and got this id.
-- Needs no lease: a process may record it also after another has resumed the job. Answers 1, also when it was
-- recorded before; 0 where the job is not bought by that submission (any more), or has another id.
-- uses: full clock job event
local id, nonce, purchase_id = unpack(ARGV)

local job = job_load(id)
if not job or not job.purchase or redis.call('HGET', Key.job(id), 'purchase_nonce') ~= nonce then return 0 end
if job.purchase_id then return job.purchase_id == purchase_id and 1 or 0 end
redis.call('HSET', Key.job(id), 'purchase_id', purchase_id)
if job.state == State.RUNNING and (job.phase == Phase.SUBMITTING or job.phase == Phase.SUBMIT_UNKNOWN) then
  redis.call('HSET', Key.job(id), 'phase', Phase.PROVIDER_QUEUED, 'phase_ms', NOW)
  event(job, {phase = Phase.PROVIDER_QUEUED})
end
return 1
