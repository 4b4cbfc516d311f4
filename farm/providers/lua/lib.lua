-- What the scripts of providers share. NOW (ms) and the settings stand before it: HALF_LIFE_MS, WORSE_BY, ALONE_ABOVE,
-- LEAST_ASKED, PROBE_MS, HELD_MS, RAISE_MS; and OPEN, the state of a purchase whose price is held.

-- the least part of the full rate that a cap leaves; a tenth of it is raised at a time
local LEAST_CAP, STEP = 0.02, 0.1

local function number(key, field, otherwise) return tonumber(redis.call('HGET', key, field) or '') or otherwise end

-- How much of what was counted at `at` is left.
local function left(at) return 0.5 ^ (math.max(0, NOW - at) / HALF_LIFE_MS) end

-- An account's rate as a part of the full one: what a 429 made of it, held, then raised step by step.
local function cap_of(account)
  local cap = number(account, 'cap', 1)
  if cap >= 1 then return 1 end
  local since = math.max(number(account, 'held_until', 0), 0)
  return math.min(1, cap + STEP * math.max(0, math.floor((NOW - since) / RAISE_MS)))
end

-- The same of its slots: the most that it took at once when it said no, then a tenth of all more at a time. Which of
-- the two the provider meant a 429 does not say.
local function slots_of(account, most)
  local cap = number(account, 'slots', nil)
  if not cap then return most end
  local steps = math.max(0, math.floor((NOW - number(account, 'held_until', 0)) / RAISE_MS))
  return math.min(most, cap + math.ceil(most * STEP) * steps)
end

-- Add to what is counted there.
local COUNTED = {'asked', 'failed', 'lost', 'took', 'took_of', 'waited'}
local function add(key, more)
  local part = left(number(key, 'at', NOW))
  for _, field in ipairs(COUNTED) do
    redis.call('HSET', key, field, string.format('%.6f', number(key, field, 0) * part + (more[field] or 0)))
  end
  redis.call('HSET', key, 'at', NOW)
end

-- Counts {asked, failed} of a provider or a model, decayed to now.
local function counts_of(key)
  local part = left(number(key, 'at', NOW))
  return number(key, 'asked', 0) * part, number(key, 'failed', 0) * part
end

-- How many slots of an account are taken. A slot counts for `term` ms after it was taken, and for as long as the purchase of
-- its holder is open, `most` ms at the longest: a process that is killed before its purchase begins blocks no slot.
local function slots_taken(provider, key, term, most)
  local slots = Key.provider_slots(provider, key)
  for _, holder in ipairs(redis.call('ZRANGEBYSCORE', slots, '-inf', NOW)) do
    local purchase = redis.call('HMGET', Key.purchase(holder), 'state', 'at_ms')
    if purchase[1] == OPEN and NOW < purchase[2] + most then
      redis.call('ZADD', slots, math.min(NOW + term, purchase[2] + most), holder)
    else
      redis.call('ZREM', slots, holder)
    end
  end
  return redis.call('ZCARD', slots)
end
