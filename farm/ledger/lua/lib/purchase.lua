-- Purchases: one record for each submission to a provider, named by its nonce. From the intent until the purchase is closed, its
-- price is held against every cap; then its cost is spent. A purchase does not end with its job: one of which nothing is known
-- stays open, whatever becomes of the job. All amounts are millionths of a US dollar.
-- uses: clock operation

-- The day and the month of a moment, UTC: 2026-11-26, 2026-11.
local function purchase_periods(ms)
  local days = math.floor(ms / 86400000) + 719468
  local era = math.floor(days / 146097)
  local of_era = days - era * 146097
  local year = math.floor((of_era - math.floor(of_era / 1460) + math.floor(of_era / 36524)
    - math.floor(of_era / 146096)) / 365)
  local of_year = of_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  local from_march = math.floor((5 * of_year + 2) / 153)
  local day = of_year - math.floor((153 * from_march + 2) / 5) + 1
  local month = from_march < 10 and from_march + 3 or from_march - 9
  year = year + era * 400 + (month <= 2 and 1 or 0)
  local text = string.format('%04d-%02d', year, month)
  return {day = string.format('%s-%02d', text, day), month = text}
end

local function purchase_load(nonce)
  local record = {nonce = nonce}
  local values = redis.call('HGETALL', Key.purchase(nonce))
  if #values == 0 then return nil end
  for n = 1, #values, 2 do record[values[n]] = values[n + 1] end
  return record
end

-- Tell whoever follows the purchase to read it again and to ask the provider.
local function purchase_news(nonce)
  redis.call('XADD', Key.purchases_told(), 'MAXLEN', '~', 1000, '*', 'nonce', nonce)
end

local function purchase_scopes(record)
  return {'tenant ' .. record.tenant, 'provider ' .. record.provider, 'farm'}
end

local function purchase_book(scope, record, held, spent)
  for _, period in ipairs({record.day, record.month}) do
    local key = Key.spend(scope, period)
    -- + 0: minus 0 is no integer to Redis 7.0
    if held ~= 0 then redis.call('HINCRBY', key, 'held', held + 0) end
    if spent ~= 0 then redis.call('HINCRBY', key, 'spent', spent + 0) end
  end
end

-- The same for the account at the provider, not by periods: its balance is compared with these sums (balance_seen.lua).
local function purchase_account(record, held, spent)
  local key = Key.account(record.provider, cjson.decode(record.intent).key or '')
  if held ~= 0 then redis.call('HINCRBY', key, 'held', held + 0) end
  if spent ~= 0 then redis.call('HINCRBY', key, 'spent', spent + 0) end
end

local function purchase_hold(record)
  record.state = Purchase.OPEN
  redis.call('HSET', Key.purchase(record.nonce), 'state', record.state)
  redis.call('ZADD', Key.purchases_open(), record.at_ms, record.nonce)
  redis.call('INCR', Key.purchases_moved())
  for _, scope in ipairs(purchase_scopes(record)) do purchase_book(scope, record, tonumber(record.price), 0) end
  purchase_account(record, tonumber(record.price), 0)
end

-- An operator found something out: write a line of the log, and tell whoever follows the purchase.
local function purchase_settled_by(record, who, why, before, after)
  operation_note(who, why, 'settle', 'purchase ' .. record.nonce, before, after)
  purchase_news(record.nonce)
end

-- Close the purchase. Answers whether it was open. `wasted`: the farm's overhead account pays for it, not the tenant.
local function purchase_close(record, ending, cost, wasted)
  if record.state ~= Purchase.OPEN then return false end
  record.state = Purchase.CLOSED
  redis.call('HSET', Key.purchase(record.nonce), 'state', record.state, 'ending', ending, 'cost', cost,
    'payer', wasted and 'overhead' or 'tenant', 'closed_ms', NOW)
  redis.call('ZREM', Key.purchases_open(), record.nonce)
  redis.call('INCR', Key.purchases_moved())
  local tenant, provider, farm = unpack(purchase_scopes(record))
  local price = 0 - tonumber(record.price)
  purchase_book(tenant, record, price, wasted and 0 or cost)
  purchase_book(provider, record, price, cost)
  purchase_book(farm, record, price, cost)
  purchase_account(record, price, tonumber(cost))
  if wasted then purchase_book('overhead', record, 0, cost) end
  return true
end

-- A purchase that was closed at the tenant's cost was of no use to it: the overhead account pays for it instead.
local function purchase_waste(record)
  if record.payer ~= 'tenant' then return end
  local cost = tonumber(record.cost)
  redis.call('HSET', Key.purchase(record.nonce), 'payer', 'overhead')
  purchase_book('tenant ' .. record.tenant, record, 0, 0 - cost)
  purchase_book('overhead', record, 0, cost)
end
