-- batch_place(id): place the next chunk of an admitted batch: records, indexes, queues, holds. Any number of processes may
-- call it. Answers {chunks left, {permit, pool, ...}}.
-- A chunk is {kinds, jobs}: a kind is what its jobs have in common, the twenty fields of lib/create.lua, which have an id
-- and a body of their own; a job is {id, number of its kind (from 1), body JSON, parents or '', 'run' or '', a reason to hold
-- it or ''}.
-- uses: full clock job create event batch money queue due permit depend
local id = ARGV[1]
local batch = redis.call('HMGET', Key.batch(id), 'state', 'tenant', 'chunks', 'placed', 'paid')
if batch[1] ~= Batch.PLACING then return {0, {}} end
local tenant, chunks, number, paid = batch[2], tonumber(batch[3]), tonumber(batch[4]) + 1, batch[5] == '1'
local kinds, given = unpack(cjson.decode(redis.call('GET', Key.chunk(id, number))))

-- What many jobs are added to, in one call for each key.
local added, sums, entries, pools = {}, {}, {}, {}
local function add(key, score, member)
  local list = added[key]
  if not list then
    list = {}
    added[key] = list
  end
  list[#list + 1] = score
  list[#list + 1] = member
end

local credit_pos = paid and redis.call('HGET', Key.credit(tenant), 'audit_pos')
local holds, summed, watched = 0, 0, {}
for _, one in ipairs(given) do
  local kind = kinds[one[2]]
  kind[1], kind[20] = one[1], one[3]
  local more = {batch = id}
  if paid then more.hold_open = 1 end
  if one[4] ~= '' then more.parents = one[4] end
  if one[5] ~= '' then more.orphans = one[5] end
  local reasons = kind[16]
  if one[4] ~= '' then reasons = reasons == '' and HoldReason.DEPENDENCY or HoldReason.DEPENDENCY .. ' ' .. reasons end
  if one[6] ~= '' then reasons = reasons == '' and one[6] or one[6] .. ' ' .. reasons end
  if reasons ~= '' then
    more.held_for, more.held_ms = reasons, NOW
    for reason in string.gmatch(reasons, '%S+') do add(Key.holds(tenant, reason), 0, one[1]) end
  end
  local job = create(kind, more)
  job.batch, job.held_for = id, more.held_for
  add(Key.jobs(tenant, job.state), 0, job.id)
  add(Key.batch_jobs(id, job.state), 0, job.id)
  if job.label then add(Key.label(tenant, job.state, job.label), 0, job.id) end
  if job.dialect then add(Key.dialect(tenant, job.state, job.dialect), 0, job.id) end
  if paid then
    holds = holds + job.hold
    if credit_pos and job.id <= credit_pos then summed = summed + job.hold end
  end
  local pool = job_pool(job)
  pools[pool] = true
  if queue_stopped(job) then
    add(Key.held(pool), NOW, job.id)
  else
    local line = job_line(job)
    add(Key.queue(line, tenant), string.format('%.0f', queue_score(job)), job.id)
    sums[line] = (sums[line] or 0) + math.floor(1000 * job.predicted_s + 0.5)
  end
  if due_next(job, 0) then due_note(job, 0) end
  if one[4] ~= '' then
    for parent in string.gmatch(one[4], '%S+') do redis.call('SADD', Key.children(parent), job.id) end
    watched[#watched + 1] = job.id
  end
end
for key, list in pairs(added) do redis.call('ZADD', key, unpack(list)) end
for pool in pairs(pools) do redis.call('SADD', Key.pools(), pool) end
for line, ms in pairs(sums) do
  redis.call('HINCRBY', Key.backlog(line), tenant, ms)
  limit_enter(line, tenant)
end

-- What was reserved for the batch is now held for its jobs.
if paid then
  redis.call('HINCRBY', Key.reserved(tenant), id, 0 - holds)
  if summed ~= 0 then redis.call('HINCRBY', Key.credit(tenant), 'audit_sum', summed) end
end
redis.call('HINCRBY', Key.coming(tenant), id, 0 - #given)
redis.call('HSET', Key.batch(id), 'placed', number)
redis.call('UNLINK', Key.chunk(id, number))
redis.call('ZADD', Key.batches_coming(), NOW, id)
if number == chunks then
  redis.call('HSET', Key.batch(id), 'state', Batch.OPEN)
  redis.call('HDEL', Key.coming(tenant), id)
  redis.call('HDEL', Key.reserved(tenant), id)
  redis.call('ZREM', Key.batches_coming(), id)
  local _, open = batch_counts(id)
  if open == 0 then
    redis.call('HSET', Key.batch(id), 'state', Batch.ENDED, 'ended_ms', NOW)
    redis.call('ZREM', Key.batches_open(), id)
  end
  batch_tell(id, tenant)
end
-- a parent may be over by now
for _, child in ipairs(watched) do depend_look(child) end

local permits = {}
for pool in pairs(pools) do permit_reserve(pool, permits) end
return {chunks - number, permits}
