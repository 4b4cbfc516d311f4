-- Who claims, and what it may take (claim.lua): its arguments, and the line that is looked at now.
-- uses: tier age job fits limit queue due workforce
local pool, worker, loaded, permit, nonce, memory, models = unpack(ARGV)

-- The line that is looked at: a tier of the pool.
local line, line_tier

local function belongs(job)
  if not job or job_line(job) ~= line then return false end
  if job.state ~= State.RUNNING and due_over(job) then return false end
  if job.state == State.RUNNING then return job.purchase ~= nil end
  return (job.state == State.QUEUED or job.state == State.WAITING) and not queue_stopped(job)
end

-- Whether a job of the line was left to other workers.
local any_left = false

-- Whether another live worker of the pool takes jobs. Asked at most once, and only when a job failed here.
local others
local function has_others()
  if others == nil then
    others = workers_open(pool) > worker_slots(pool, worker)
  end
  return others
end

-- Whether the worker cannot hold such a job and another one can. Asked once for equal needs: the shots of a batch have them
-- in common.
local too_large = {}
local function too_large_here(needs)
  if not needs then return false end
  if too_large[needs] == nil then too_large[needs] = not fits(needs, memory) and fits_another(needs, pool, worker) end
  any_left = any_left or too_large[needs]
  return too_large[needs]
end

local offered
for model in string.gmatch(models, '%S+') do
  offered = offered or {}
  offered[model] = true
end

local RENDERS = pool ~= Setting.INTAKE_POOL and pool ~= Setting.BURST_POOL

-- The worker does not offer its model, or an operator paused the lane, or the model of all its lanes. Asked once for
-- each lane. A lane begins with its model's id (models.catalog.lane_of).
local closed = {}
local function not_offered(lane)
  if not lane then return false end
  if closed[lane] == nil then
    local model = string.match(lane, '^[^@+]*')
    closed[lane] = offered ~= nil and not offered[model]
      or RENDERS and (limit_switched('lane', lane) or limit_switched('lane', model))
  end
  any_left = any_left or closed[lane]
  return closed[lane]
end

local function not_for_here(needs, lane)
  return too_large_here(needs) or not_offered(lane)
end

-- A bad device must not eat all the attempts of a job.
local function left_to_others(job)
  local left = job.failed_on == worker and within(job.queued_ms, Setting.ELSEWHERE_MS) and has_others()
  any_left = any_left or left
  return left
end
