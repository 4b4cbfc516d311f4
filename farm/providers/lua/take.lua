-- take(provider, holder, rate per s, burst, concurrency, term ms, most ms, key, ...): a place for one submission,
-- all of it or nothing: the provider is not paused, its breaker lets it through, and one of the keys has a slot and a
-- turn. The one with most room is taken. Answers {1, key, 1 if it is the breaker's probe} or {0, wait ms, why, words}.
local provider, holder = ARGV[1], ARGV[2]
local per_ms, burst, most = tonumber(ARGV[3]) / 1000, tonumber(ARGV[4]), tonumber(ARGV[5])
local term, slot_ms = tonumber(ARGV[6]), tonumber(ARGV[7])
local this = Key.provider(provider)

-- said again after a lost reply: the same slot
for n = 8, #ARGV do
  local until_ms = redis.call('ZSCORE', Key.provider_slots(provider, ARGV[n]), holder)
  if until_ms and tonumber(until_ms) > NOW then
    return {1, ARGV[n], redis.call('HGET', this, 'probe') == holder and 1 or 0}
  end
end

if redis.call('HEXISTS', Key.switches(), 'provider ' .. provider) == 1 then return {0, 5000, 'paused', ''} end
local away = number(this, 'away_until', 0)
if away > NOW then return {0, math.ceil(away - NOW), 'away', redis.call('HGET', this, 'away_words') or ''} end

local probing = false
local probe_at = number(this, 'probe_at', nil)
if probe_at then
  if NOW < probe_at then return {0, math.ceil(probe_at - NOW), 'breaker', ''} end
  -- under way for as long as its slot is taken
  local probe, until_ms = redis.call('HGET', this, 'probe'), number(this, 'probe_until', 0)
  for n = 8, #ARGV do
    slots_taken(provider, ARGV[n], term, slot_ms)
    local slot_until = probe and redis.call('ZSCORE', Key.provider_slots(provider, ARGV[n]), probe)
    if slot_until and until_ms > NOW then
      return {0, math.ceil(math.min(until_ms, tonumber(slot_until)) - NOW), 'breaker', ''}
    end
  end
  probing = true
end

local best, room, wait, why, words
local function later(ms, reason, said)
  if not wait or ms < wait then wait, why, words = math.ceil(ms), reason, said or '' end
end
for n = 8, #ARGV do
  local key = ARGV[n]
  local account, slots = Key.provider_account(provider, key), Key.provider_slots(provider, key)
  local parked = number(account, 'parked_until', 0)
  if parked > NOW then
    later(parked - NOW, redis.call('HGET', account, 'parked_why'), redis.call('HGET', account, 'parked_words'))
  else
    local free = slots_of(account, most) - slots_taken(provider, key, term, slot_ms)
    local cap = cap_of(account)
    local interval = 1 / (per_ms * cap)
    local due = math.max(NOW, math.min(number(account, 'due', 0), NOW + interval * burst))
    local early = due + interval - interval * math.max(1, math.floor(burst * cap)) - NOW
    if free < 1 then
      later(1000, 'concurrency')
    elseif early > 0 then
      later(early, 'rate')
    elseif not best or free > room then
      best, room = {key = key, account = account, slots = slots, due = due + interval}, free
    end
  end
end
if not best then return {0, wait or 60000, why or 'key', words or ''} end

redis.call('ZADD', best.slots, NOW + term, holder)
redis.call('HSET', best.account, 'due', string.format('%.3f', best.due))
-- one that takes much longer than the others does not keep the breaker open
if probing then redis.call('HSET', this, 'probe', holder, 'probe_until', NOW + math.min(slot_ms, 10 * PROBE_MS)) end
return {1, best.key, probing and 1 or 0}
