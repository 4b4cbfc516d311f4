-- commit(id, fence, artifacts JSON, gpu_s): running -> succeeded. State, Key.result, charge, fair share, event and
-- outbox in one write. Answers a CommitOutcome.
-- uses: full clock job verdict depend
local id, fence, artifacts, gpu_s = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

local job = job_load(id)
if not job then return Commit.FENCED end
if job.state ~= State.RUNNING or not job_held(job, fence) then
  if job.fence == fence then
    if job.state == State.SUCCEEDED then return Commit.ALREADY end
    if job.state == State.CANCELLED then return Commit.CANCELLED end
  end
  return Commit.FENCED
end
attempt_end(job, gpu_s)
if job.cancelling then
  job_cancelled(job)
  depend_work(Setting.CHILDREN_AT_ONCE)
  return Commit.CANCELLED
end
redis.call('SET', Key.result(id), artifacts)
job_end(job, State.SUCCEEDED)
depend_work(Setting.CHILDREN_AT_ONCE)
return Commit.COMMITTED
