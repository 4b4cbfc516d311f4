-- act_step(id, limit, id of a new job, ...): do the act to some more jobs. The step ends when it has looked at `limit` records: of
-- the jobs themselves, of those that a retry makes, of their parents and of their children; at one job at least. `limit` ids
-- of new jobs come with it. How far the act is is kept, so that any process goes on with it. It ends when it went over all of
-- its jobs and changed nothing, since jobs move on meanwhile. Acts on one batch are done one after the other, in the order in
-- which they were asked for: a step of one that stands behind another is a step of that. Answers {1 while there is more to do,
-- {permit, pool, ...}}.
-- uses: full clock job event batch money queue due held verdict depend again permit
local function under_way(one)
  return redis.call('HGET', Key.act(one), 'state') == ActState.UNDER_WAY
end

-- The act whose turn it is: the first that is under way of those that were when the next one began.
local function first_of(one)
  local first = one
  while true do
    one = redis.call('HGET', Key.act(one), 'behind')
    if not one or one == '' then return first end
    if under_way(one) then first = one end
  end
end

local asked, limit = ARGV[1], tonumber(ARGV[2])
local id = under_way(asked) and first_of(asked) or asked
local fields = {'batch', 'kind', 'priority', 'label', 'code', 'only', 'state', 'at', 'after', 'pass', 'changed_now', 'created_ms', 'error'}
local values, act = redis.call('HMGET', Key.act(id), unpack(fields)), {}
for n, name in ipairs(fields) do act[name] = values[n] end
if act.state ~= ActState.UNDER_WAY then
  redis.call('ZREM', Key.acts_open(), id)
  return {0, {}}
end
local stage = redis.call('HGET', Key.batch(act.batch), 'state')
-- its jobs are not all placed yet
if stage == Batch.PLACING then return {1, {}} end
local MOST_PASSES = 8
local OPEN_STATES = {State.WAITING, State.QUEUED, State.RUNNING}
local STATES_OF = {[Act.RETRY] = {State.FAILED}}
local states = STATES_OF[act.kind] or OPEN_STATES
local pools, permits, new = {}, {}, 2

local function wanted(job)
  if act.only ~= '' and job.state ~= act.only then return false end
  if act.label ~= '' and job.label ~= act.label then return false end
  return act.code == '' or redis.call('HGET', Key.job(job.id), 'error_code') == act.code
end

local function prioritise(job)
  local priority = tonumber(act.priority)
  if job.priority == priority then return false end
  job.priority = priority
  redis.call('HSET', Key.job(job.id), 'priority', priority)
  if redis.call('ZSCORE', Key.queue(job_line(job), job.tenant), job.id) then
    queue_remove(job_line(job), job.tenant, job.id)
    queue_put(job)
  end
  return true
end

-- Only jobs that failed before the act began, or it would never end.
local function retry(job)
  local finished = tonumber(redis.call('HGET', Key.job(job.id), 'finished_ms') or 0)
  if finished > tonumber(act.created_ms) then return false end
  new = new + 1
  local why = again(id, job, ARGV[new], pools)
  if why then return false, why end
  return true
end

local DO = {
  [Act.CANCEL] = function(job) return not job.cancelling and job_cancel(job) ~= Cancel.OVER end,
  [Act.PAUSE] = function(job) return not held_has(job, HoldReason.PAUSED) and held_add(job, HoldReason.PAUSED) ~= Hold.OVER end,
  [Act.RESUME] = function(job) return held_has(job, HoldReason.PAUSED) and held_remove(job, HoldReason.PAUSED, pools) ~= Hold.OVER end,
  [Act.APPROVE] = function(job)
    return held_has(job, HoldReason.APPROVAL) and held_remove(job, HoldReason.APPROVAL, pools) ~= Hold.OVER
  end,
  [Act.PRIORITY] = prioritise,
  [Act.RETRY] = retry,
}

local function over()
  redis.call('HSET', Key.act(id), 'state', ActState.ENDED, 'ended_ms', NOW)
  redis.call('ZREM', Key.acts_open(), id)
end

local at, after, pass, changed_now = tonumber(act.at), act.after, tonumber(act.pass), tonumber(act.changed_now)
local looked, changed, failed = 0, 0, act.error ~= '' and act.error
while looked + depend_read < limit and at <= #states and not failed do
  local from, wanted_ids = after == '' and '-' or '(' .. after, limit - looked - depend_read
  local ids = redis.call('ZRANGEBYLEX', Key.batch_jobs(act.batch, states[at]), from, '+', 'LIMIT', 0, wanted_ids)
  for _, job_id in ipairs(ids) do
    if looked + depend_read >= limit then break end
    local job = job_load(job_id)
    after, looked = job_id, looked + 1
    if job and wanted(job) then
      local done, why = DO[act.kind](job)
      if done then changed = changed + 1 end
      if why then
        failed = why
        break
      end
    end
  end
  if not failed and looked + depend_read < limit and #ids < wanted_ids then at, after = at + 1, '' end
end
changed_now = changed_now + changed
local more = 1
if act.kind == Act.RETRY then
  if (failed or at > #states) and not again_look(id, limit - looked) then
    over()
    more = 0
  end
elseif at > #states then
  if changed_now == 0 or pass >= MOST_PASSES then
    over()
    more = 0
  else
    at, after, pass, changed_now = 1, '', pass + 1, 0
  end
end
depend_work(limit - looked)
if failed then redis.call('HSET', Key.act(id), 'error', failed) end
redis.call('HSET', Key.act(id), 'at', at, 'after', after, 'pass', pass, 'changed_now', changed_now)
if act.pass == '1' then redis.call('HINCRBY', Key.act(id), 'looked', looked) end
redis.call('HINCRBY', Key.act(id), 'changed', changed)
if more == 1 then redis.call('ZADD', Key.acts_open(), NOW, id) end
if id ~= asked then
  redis.call('ZADD', Key.acts_open(), NOW, asked)
  more = 1
end
for pool in pairs(pools) do permit_reserve(pool, permits) end
return {more, permits}
