-- release_held(HoldReason, id, ...): remove this reason; a job that has no other is queued again. Answers
-- {{HoldOutcome, ...}, {permit, pool, ...}}.
-- uses: full clock job event queue permit
local reason = ARGV[1]
local pools = {}

local function release(job)
  if not job then return Hold.NOT_FOUND end
  if TERMINAL[job.state] then return Hold.OVER end
  local known = string.find(' ' .. (job.held_for or '') .. ' ', ' ' .. reason .. ' ', 1, true)
  if known then queue_reasons(job, reason, false) end
  if not queue_stopped(job) and redis.call('ZREM', Key.held(job_pool(job)), job.id) == 1 then
    queue_again(job)
    pools[job_pool(job)] = true
  end
  if known then event(job) end
  if job.held_for then return Hold.HELD end
  return Hold.FREE
end

local answers, permits = {}, {}
for n = 2, #ARGV do answers[n - 1] = release(job_load(ARGV[n])) end
for pool in pairs(pools) do permit_reserve(pool, permits) end
return {answers, permits}
