-- cancel(tenant, id): a job that no worker renders ends now; the worker of a running one learns it at its next heartbeat,
-- and the job can no longer succeed. Answers a CancelOutcome.
-- uses: full clock job event verdict depend
local tenant, id = ARGV[1], ARGV[2]

local job = job_load(id)
if not job or job.tenant ~= tenant then return Cancel.NOT_FOUND end
if TERMINAL[job.state] then return Cancel.OVER end
if job.state ~= State.RUNNING then
  job_cancelled(job)
  depend_work(Setting.CHILDREN_AT_ONCE)
  return Cancel.CANCELLED
end
if not job.cancelling then
  redis.call('HSET', Key.job(id), 'cancelling', 1)
  event(job, {cancelling = true})
end
return Cancel.CANCELLING
