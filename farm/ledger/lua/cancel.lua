-- cancel(tenant, id): a job that no worker renders ends now; the worker of a running one is told to ask,
-- and the job can no longer succeed. Answers a CancelOutcome.
-- uses: full clock job event verdict depend
local tenant, id = ARGV[1], ARGV[2]

local job = job_load(id)
if not job or job.tenant ~= tenant then return Cancel.NOT_FOUND end
local outcome = job_cancel(job)
if outcome == Cancel.CANCELLED then depend_work(Setting.CHILDREN_AT_ONCE) end
return outcome
