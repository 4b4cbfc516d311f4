-- Jobs that follow others (`parents`, ids with spaces between). A job that ended and has children stands in Key.parents_over
-- until they were looked at: some at once, the rest by a reap or by children.lua. No counter is kept: whether a child may start,
-- its parents' records say.
-- uses: clock job event queue verdict
-- seldom: depend_rest
-- How many records this call has read here, of jobs and of their parents: its cost. A job may have 64 parents
-- (farm.batches.chains.MAX_PARENT_JOBS), and each may have been made anew several times.
local depend_read = 0

-- The job that stands for `id` now: one that failed may have been made anew.
local function depend_current(id)
  for _ = 1, 100 do
    depend_read = depend_read + 1
    local again = redis.call('HGET', Key.job(id), 'retried_as')
    if not again then return id end
    id = again
  end
  return id
end

-- Whether an act that made the job anew is under way, and may yet make its parents anew.
local function depend_undecided(job)
  return job.remade_by and redis.call('HGET', Key.act(job.remade_by), 'state') == ActState.UNDER_WAY
end

-- Queue the child, fail it, or leave it waiting. Then the jobs that stand for its open parents now list it as their child.
local function depend_look(id)
  depend_read = depend_read + 1
  local job = job_load(id)
  if not job or TERMINAL[job.state] or not job.parents then return end
  if not string.find(job.held_for or '', HoldReason.DEPENDENCY, 1, true) then return end
  if depend_undecided(job) then return end
  local pending, broken = false, nil
  for parent in string.gmatch(job.parents, '%S+') do
    local current = depend_current(parent)
    local state = redis.call('HGET', Key.job(current), 'state')
    if not state then
      -- its place comes yet, or it was forgotten
      if redis.call('HGET', Key.batch(job.batch or ''), 'state') == Batch.PLACING then pending = true else broken = parent end
    elseif state == State.FAILED or state == State.CANCELLED then
      broken = parent
    elseif state ~= State.SUCCEEDED then
      pending = true
      redis.call('SADD', Key.children(current), id)
    end
  end
  if broken and job.orphans ~= 'run' then
    return job_end(job, State.FAILED, Fault.DEPENDENCY_FAILED, 'job ' .. broken .. ', which it was to follow, has no result')
  end
  if pending then return end
  queue_reasons(job, HoldReason.DEPENDENCY, false)
  if not queue_stopped(job) and redis.call('ZREM', Key.held(job_pool(job)), id) == 1 then queue_again(job) end
  event(job)
end

-- The same, where Key.parents_over is known to have some.
local function depend_rest(most)
  repeat
    local parent = redis.call('LINDEX', Key.parents_over(), 0)
    if not parent then return end
    local child
    repeat
      child = redis.call('SPOP', Key.children(parent))
      if child then depend_look(child) end
    until not child or depend_read >= most
    if not child then
      depend_read = depend_read + 1
      redis.call('LREM', Key.parents_over(), 1, parent)
    end
  until depend_read >= most
end

-- Look at children of jobs that are over, until this call has read `most` records, those of one child more at most.
-- Answers how many it has read: 0 where no child is left and it read none before.
local function depend_work(most)
  if depend_read < most and redis.call('EXISTS', Key.parents_over()) == 1 then depend_rest(most) end
  return depend_read
end
