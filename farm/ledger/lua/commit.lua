-- commit(id, fence, artifacts JSON, gpu_s): running -> succeeded. Result, charge, fair share, event and outbox change in the
-- same write. Answers a CommitOutcome.
-- uses: full clock job verdict depend
local id, fence, artifacts, gpu_s = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])

-- How long renders of the tenant took, beside what was predicted for them (farm.scheduling.pace.RenderSums); about the last
-- fifty count. One whose worker had no model loaded tells what a load takes: it counts under '|cold', which is no tenant's id.
local KEPT = 1 - 1 / 50
local function learn_render(job)
  local predicted_s, took_s = job.predicted_s, (NOW - (job.started_ms or NOW)) / 1000
  if predicted_s <= 0 or took_s <= 0 then return end
  local of = job.cold and '|cold' or job.tenant
  local known = redis.call('HGET', Key.renders(job.pool), of) or '0 0 0 0'
  local count, predicted, took, squares = string.match(known, '^(%S+) (%S+) (%S+) (%S+)$')
  redis.call('HSET', Key.renders(job.pool), of, string.format('%.4f %.3f %.3f %.3f', KEPT * count + 1,
    KEPT * predicted + predicted_s, KEPT * took + took_s, KEPT * squares + took_s * took_s / predicted_s))
end

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
if not job.purchase then learn_render(job) end
redis.call('SET', Key.result(id), artifacts)
job_end(job, State.SUCCEEDED)
depend_work(Setting.CHILDREN_AT_ONCE)
return Commit.COMMITTED
