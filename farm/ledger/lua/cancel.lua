-- cancel(tenant, id): a job that is not running ends now. One that runs can no longer succeed: its worker is told to send a
-- heartbeat, and hears of it then. Answers a CancelOutcome.
-- uses: full clock job event verdict depend
local tenant, id = ARGV[1], ARGV[2]

local job = job_load(id)
if not job or job.tenant ~= tenant then return Cancel.NOT_FOUND end
local outcome = job_cancel(job)
if outcome == Cancel.CANCELLED then depend_work(Setting.CHILDREN_AT_ONCE) end
return outcome
