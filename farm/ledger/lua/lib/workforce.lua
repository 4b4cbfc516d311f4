-- The workers of a pool are counted as they come, change and go, so that no question about them reads them all. Key.notes has
-- what is counted of each: "slots state able offer". An offer is "memory|models" as claim.lua takes them. `able` is 1 for an
-- idle worker that could take what waits, 2 for a busy one that could take it once it is free, else 0. A pool has few different
-- offers, however many workers it has.
-- Key.locked has the slots of those that an operator locked: they take no more jobs.
-- uses: clock limit
-- seldom: workers_slots workers_open workers_locked
-- Workers that one call forgets at most. The reaper calls for every pool every few seconds.
local GONE_AT_ONCE = 256

local function workers_count(pool, note, sign)
  local slots, state, able, offer = string.match(note, '^(%d+) (%S+) ([012]) (.*)$')
  redis.call('HINCRBY', Key.tally(pool), 'slots', sign * tonumber(slots) + 0)
  local function add(key, field)
    if redis.call('HINCRBY', key, field, sign) <= 0 then redis.call('HDEL', key, field) end
  end
  add(Key.tally(pool), 'state ' .. state)
  add(Key.offers(pool), offer)
  if able == '1' then add(Key.free(pool), offer) end
  if able ~= '0' then add(Key.able(pool), offer) end
  return offer
end

-- The worker is locked, and has so many slots; 0: it is not, or has gone.
local function worker_locked(pool, worker, slots)
  local before = tonumber(redis.call('HGET', Key.locked(pool), worker) or 0)
  if slots == before then return end
  redis.call('HINCRBY', Key.tally(pool), 'locked', slots - before)
  if slots == 0 then redis.call('HDEL', Key.locked(pool), worker) else redis.call('HSET', Key.locked(pool), worker, slots) end
end

-- Count these workers no more; no worker comes twice among them. Those with the same note are counted together: of a thousand
-- workers few notes differ.
local function workers_forget(pool, workers)
  local alike = {}
  local notes = redis.call('HMGET', Key.notes(pool), unpack(workers))
  for n = 1, #workers do
    if notes[n] then alike[notes[n]] = (alike[notes[n]] or 0) + 1 end
  end
  for note, count in pairs(alike) do workers_count(pool, note, -count) end
  if redis.call('EXISTS', Key.locked(pool)) == 1 then
    for n = 1, #workers do worker_locked(pool, workers[n], 0) end
  end
  redis.call('ZREM', Key.workers(pool), unpack(workers))
  for _, key in ipairs({Key.notes(pool), Key.facts(pool), Key.marks(pool)}) do redis.call('HDEL', key, unpack(workers)) end
end

-- Forget workers that were not seen in time.
local function workers_forget_gone(pool)
  local gone = redis.call('ZRANGEBYSCORE', Key.workers(pool), '-inf', NOW, 'LIMIT', 0, GONE_AT_ONCE)
  if gone[1] then workers_forget(pool, gone) end
end

local function worker_note(pool, worker, note)
  local before = redis.call('HGET', Key.notes(pool), worker)
  if before == note then return end
  local offer = workers_count(pool, note, 1)
  redis.call('HSET', Key.notes(pool), worker, note)
  if limit_switched('worker', worker) then worker_locked(pool, worker, tonumber(string.match(note, '^%d+'))) end
  if not before then return end
  local left = workers_count(pool, before, -1)
  -- it does not offer that any more, and nobody else does ('|': it has started again, and has told of nothing yet)
  if left ~= offer and offer ~= '|' and redis.call('HEXISTS', Key.offers(pool), left) == 0 then
    redis.call('ZREM', Key.offered(pool), left)
  end
end

-- Slots of the live workers.
local function workers_slots(pool)
  workers_forget_gone(pool)
  return tonumber(redis.call('HGET', Key.tally(pool), 'slots') or 0)
end

-- Slots of one worker, 0 of one that is not live; and what it offers, or nil.
local function worker_slots(pool, worker)
  local slots, offer = string.match(redis.call('HGET', Key.notes(pool), worker) or '', '^(%d+) %S+ [012] (.*)$')
  return tonumber(slots or 0), offer
end

-- Slots of live workers that an operator locked.
local function workers_locked(pool)
  workers_forget_gone(pool)
  return tonumber(redis.call('HGET', Key.tally(pool), 'locked') or 0)
end

-- Slots of live workers that take jobs: of all but the locked ones.
local function workers_open(pool)
  return workers_slots(pool) - tonumber(redis.call('HGET', Key.tally(pool), 'locked') or 0)
end

-- The memory and the models of an offer; models with spaces between, '' for all.
local function offer_parts(offer)
  return string.match(offer, '^([^|]*)|(.*)$')
end
