-- batch_place(id): place the jobs of the next chunk of an admitted batch: their records, indexes, queues and holds. Any number
-- of processes may call it. Answers {chunks left, {permit, pool, ...}}.
-- A chunk is {kinds, jobs}. A kind is what jobs have in common: the twenty fields of lib/create.lua, of which id and body are
-- not used. A job is {id, number of its kind (from 1), body JSON, ids of its parents or '', 'run' (it runs also where a parent has
-- no result) or '', a reason to hold it or ''}.
-- uses: full clock job create event batch money queue due permit depend
local id = ARGV[1]
local batch = redis.call('HMGET', Key.batch(id), 'state', 'tenant', 'chunks', 'placed', 'paid')
if batch[1] ~= Batch.PLACING then return {0, {}} end
local tenant, chunks, number, paid = batch[2], tonumber(batch[3]), tonumber(batch[4]) + 1, batch[5] == '1'
local kinds, given = unpack(cjson.decode(redis.call('GET', Key.chunk(id, number))))

-- Key -> scores and ids that are added to it, in one call for each key.
local added, sums, pools = {}, {}, {}
local function list_of(key)
  added[key] = added[key] or {}
  return added[key]
end

local function put(list, score, member)
  local size = #list
  list[size + 1], list[size + 2] = score, member
end

-- What all jobs of a kind have in common, made once.
local function kind_of(given_kind)
  local job, record = create_record(given_kind)
  job.batch = id
  record[#record + 1], record[#record + 2] = 'batch', id
  if paid then record[#record + 1], record[#record + 2] = 'hold_open', 1 end
  local indexes = {list_of(Key.jobs(tenant, job.state)), list_of(Key.batch_jobs(id, job.state))}
  if job.label then indexes[#indexes + 1] = list_of(Key.label(tenant, job.state, job.label)) end
  if job.dialect then indexes[#indexes + 1] = list_of(Key.dialect(tenant, job.state, job.dialect)) end
  pools[job_pool(job)] = true
  return {job = job, record = record, indexes = indexes, reasons = given_kind[16], line = job_line(job),
    queue = list_of(Key.queue(job_line(job), tenant)), score = string.format('%.0f', queue_score(job)),
    ms = math.floor(1000 * job.predicted_s + 0.5), due = due_next(job, 0)}
end

local function joined(reasons, more)
  if more == '' then return reasons end
  return reasons == '' and more or reasons .. ' ' .. more
end

local credit_pos = paid and redis.call('HGET', Key.credit(tenant), 'audit_pos')
local holds, summed, watched = 0, 0, {}
for _, one in ipairs(given) do
  local own, parents = one[1], one[4]
  local kind = kinds[one[2]]
  if not kind.job then
    kind = kind_of(kind)
    kinds[one[2]] = kind
  end
  local job, record = kind.job, kind.record
  job.id = own
  local reasons = joined(joined(kind.reasons, one[6]), parents ~= '' and HoldReason.DEPENDENCY or '')
  job.held_for = nil
  if reasons ~= '' then
    job.held_for = reasons
    record = {'held_for', reasons, 'held_ms', NOW, unpack(record)}
    for reason in string.gmatch(reasons, '%S+') do
      put(list_of(Key.holds(tenant, reason)), 0, own)
      put(list_of(Key.batch_holds(id, reason)), 0, own)
    end
  end
  if parents ~= '' then
    record = {'parents', parents, 'orphans', one[5], unpack(record)}
    for parent in string.gmatch(parents, '%S+') do redis.call('SADD', Key.children(parent), own) end
    watched[#watched + 1] = own
  end
  create_store(own, record, one[3])
  for _, index in ipairs(kind.indexes) do put(index, 0, own) end
  if paid then
    holds = holds + job.hold
    if credit_pos and own <= credit_pos then summed = summed + job.hold end
  end
  if queue_stopped(job) then
    put(list_of(Key.held(job_pool(job))), NOW, own)
  else
    put(kind.queue, kind.score, own)
    sums[kind.line] = (sums[kind.line] or 0) + kind.ms
  end
  if kind.due then due_note(job, 0) end
end
for key, list in pairs(added) do
  if list[1] then redis.call('ZADD', key, unpack(list)) end
end
for pool in pairs(pools) do redis.call('SADD', Key.pools(), pool) end
for line, ms in pairs(sums) do
  redis.call('HINCRBY', Key.backlog(line), tenant, ms)
  limit_enter(line, tenant)
end

if watched[1] then redis.call('HSET', Key.batch(id), 'chained', 1) end

-- What was held for the batch is now held for these jobs.
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
-- a parent may have ended before its child was placed
for _, child in ipairs(watched) do depend_look(child) end

local permits = {}
for pool in pairs(pools) do permit_reserve(pool, permits) end
return {chunks - number, permits}
