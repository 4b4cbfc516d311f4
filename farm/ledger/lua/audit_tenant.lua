-- audit_tenant(tenant, after id or '', limit): go over the next `limit` jobs in the tenant's indexes, in the order of the ids.
-- Remove what has no record, and add up the open holds. The call that comes to the end corrects `held` to the sum. While an
-- audit is under way, audit_sum of Key.credit follows every change to a hold that it has counted, those up to audit_pos
-- (lib/money.lua): so the sum is exact although jobs go on.
-- Answers {last id or '' at the end, checked, indexed without record, 1 where `held` was corrected}.
-- uses: full clock job event batch money states
local tenant, after, limit = ARGV[1], ARGV[2], tonumber(ARGV[3])
local credit = Key.credit(tenant)
local account = money_has_account(tenant)

local from = '-'
if after ~= '' then from = '(' .. after end
local ids = {}
for _, state in ipairs(STATES) do
  local some = redis.call('ZRANGEBYLEX', Key.jobs(tenant, state), from, '+', 'LIMIT', 0, limit + 1)
  for _, id in ipairs(some) do ids[#ids + 1] = {id, state} end
end
table.sort(ids, function(a, b) return a[1] < b[1] end)

-- Of two audits at once only the one that began last adds to the sum.
local adding = account
if account and after == '' then
  redis.call('HSET', credit, 'audit_pos', '', 'audit_sum', 0)
elseif account then
  adding = redis.call('HGET', credit, 'audit_pos') == after
end

local checked, orphans, sum = math.min(#ids, limit), 0, 0
for n = 1, checked do
  local id, state = ids[n][1], ids[n][2]
  local record = redis.call('HMGET', Key.job(id), 'tenant', 'hold', 'hold_open', 'state')
  if record[1] ~= tenant then
    redis.call('ZREM', Key.jobs(tenant, state), id)
    orphans = orphans + 1
  elseif record[3] and record[4] == state then
    sum = sum + tonumber(record[2])
  end
end

local last = ''
if #ids > limit then last = ids[limit][1] end
-- A job that ends is removed from the lists of reasons: one that is listed and has no record is listed wrongly.
for _, reason in ipairs({HoldReason.PAUSED, HoldReason.APPROVAL, HoldReason.DEPENDENCY, HoldReason.PARKED}) do
  local key = Key.holds(tenant, reason)
  for _, id in ipairs(redis.call('ZRANGEBYLEX', key, from, last == '' and '+' or '[' .. last, 'LIMIT', 0, limit)) do
    if redis.call('EXISTS', Key.job(id)) == 0 then
      redis.call('ZREM', key, id)
      orphans = orphans + 1
    end
  end
end

local corrected = 0
if adding then
  local total = redis.call('HINCRBY', credit, 'audit_sum', sum)
  if last ~= '' then
    redis.call('HSET', credit, 'audit_pos', last)
  else
    local held = tonumber(redis.call('HGET', credit, 'held') or 0)
    -- what batches hold for jobs that are not placed yet
    total = total + batch_reserved(tenant)
    if held ~= total then
      redis.call('HSET', credit, 'held', total)
      corrected = 1
    end
    redis.call('HDEL', credit, 'audit_pos', 'audit_sum')
  end
end
return {last, checked, orphans, corrected}
