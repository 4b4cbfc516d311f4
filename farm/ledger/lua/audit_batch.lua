-- audit_batch(tenant, batch, after id or '', limit): go over the next `limit` jobs in the batch's indexes, in the order of the
-- ids. Remove what is no job of the batch, and add up what the others hold, what they were charged, and their predicted GPU time
-- once they are over. The call that comes to the end corrects the batch's sums and its state to what was found. While an audit
-- is under way, its own sums follow every change to a job that it has counted (lib/batch.lua).
-- Answers {last id or '' at the end, checked, indexed and no job of it, sums and states corrected}.
-- uses: full clock batch states
local tenant, id, after, limit = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local key = Key.batch(id)
local SUMS = {'held', 'spent', 'gpu_ms_over'}
local OVER = Table.TERMINAL
local state, jobs = unpack(redis.call('HMGET', key, 'state', 'jobs'))
-- a batch that is staged or placed has one hold for all its jobs (audit_tenant.lua)
if state ~= Batch.OPEN and state ~= Batch.ENDED then return {'', 0, 0, 0} end

local from, ids = after == '' and '-' or '(' .. after, {}
for _, name in ipairs(STATES) do
  for _, job in ipairs(redis.call('ZRANGEBYLEX', Key.batch_jobs(id, name), from, '+', 'LIMIT', 0, limit + 1)) do
    ids[#ids + 1] = {job, name}
  end
end
table.sort(ids, function(a, b) return a[1] < b[1] end)

-- Of two audits at once only the one that began last adds to the sums.
local adding = after == '' or redis.call('HGET', key, 'audit_pos') == after
if after == '' then redis.call('HSET', key, 'audit_pos', '', 'audit_held', 0, 'audit_spent', 0, 'audit_gpu_ms_over', 0) end

local checked, orphans, added = math.min(#ids, limit), 0, {held = 0, spent = 0, gpu_ms_over = 0}
for n = 1, checked do
  local job, name = ids[n][1], ids[n][2]
  local record = redis.call('HMGET', Key.job(job), 'batch', 'state', 'hold', 'hold_open', 'predicted_s')
  if record[1] ~= id then
    redis.call('ZREM', Key.batch_jobs(id, name), job)
    orphans = orphans + 1
  elseif record[2] == name then
    if record[4] then added.held = added.held + tonumber(record[3]) end
    if name == State.SUCCEEDED then added.spent = added.spent + tonumber(record[3] or 0) end
    if OVER[name] then added.gpu_ms_over = added.gpu_ms_over + batch_gpu_ms(record[5]) end
  end
end

local last, corrected = #ids > limit and ids[limit][1] or '', 0
if not adding then return {last, checked, orphans, corrected} end
local total = {}
for _, sum in ipairs(SUMS) do total[sum] = redis.call('HINCRBY', key, 'audit_' .. sum, added[sum]) end
if last ~= '' then
  redis.call('HSET', key, 'audit_pos', last)
  return {last, checked, orphans, corrected}
end

local counts, open = batch_counts(id)
local there = 0
for _, count in pairs(counts) do there = there + count end
for _, sum in ipairs(SUMS) do
  -- jobs that were removed since count in the batch's sums, and hold nothing
  if (sum == 'held' or there == tonumber(jobs)) and tonumber(redis.call('HGET', key, sum)) ~= total[sum] then
    redis.call('HSET', key, sum, total[sum])
    corrected = corrected + 1
  end
end
redis.call('HDEL', key, 'audit_pos', 'audit_held', 'audit_spent', 'audit_gpu_ms_over')
local listed = redis.call('ZSCORE', Key.batches_open(), id)
if open > 0 and (state == Batch.ENDED or not listed) then
  redis.call('HSET', key, 'state', Batch.OPEN)
  redis.call('HDEL', key, 'ended_ms')
  redis.call('ZADD', Key.batches_open(), 'NX', NOW, id)
  corrected = corrected + 1
elseif open == 0 and (state == Batch.OPEN or listed) then
  redis.call('HSET', key, 'state', Batch.ENDED)
  redis.call('HSETNX', key, 'ended_ms', NOW)
  redis.call('ZREM', Key.batches_open(), id)
  batch_tell(id, tenant)
  corrected = corrected + 1
end
return {last, checked, orphans, corrected}
