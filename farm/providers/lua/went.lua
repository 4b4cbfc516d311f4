-- went(provider, model, ok: 1 or 0, seconds or '', lost, holder, peer, ...): what became of a job there; `lost` is the part of its
-- price that one that failed came to. Counts
-- it, decayed, and opens or closes the breaker: a provider is bad when it fails more than its peers do, since what all of
-- them fail is the job's fault, or the network's. Answers 'closed' or 'open'.
local provider, model, ok, seconds, holder = ARGV[1], ARGV[2], ARGV[3] == '1', tonumber(ARGV[4]), ARGV[6]
local lost = ok and 0 or tonumber(ARGV[5])
local this = Key.provider(provider)

local function count(key)
  add(key, {asked = 1, failed = ok and 0 or 1, lost = lost, took = seconds or 0, took_of = seconds and 1 or 0})
end
count(this)
count(Key.provider_model(provider, model))

local open = number(this, 'probe_at', nil) ~= nil
if open then
  if ok then
    redis.call('HDEL', this, 'probe_at', 'probe', 'probe_until', 'opened_ms')
    -- what it failed before is forgiven, or the next failure would open it again
    redis.call('HSET', this, 'asked', 0, 'failed', 0)
    return 'closed'
  end
  if redis.call('HGET', this, 'probe') == holder then
    redis.call('HDEL', this, 'probe', 'probe_until')
    redis.call('HSET', this, 'probe_at', NOW + PROBE_MS)
  end
  return 'open'
end
if ok then return 'closed' end

local asked, failed = counts_of(this)
if asked < LEAST_ASKED then return 'closed' end
local rates = {}
for n = 7, #ARGV do
  local theirs, bad = counts_of(Key.provider(ARGV[n]))
  if theirs >= 1 then table.insert(rates, bad / theirs) end
end
table.sort(rates)
local limit = ALONE_ABOVE
if #rates > 0 then
  local middle = rates[math.ceil(#rates / 2)]
  limit = middle + WORSE_BY
end
if failed / asked <= limit then return 'closed' end
redis.call('HSET', this, 'opened_ms', NOW, 'probe_at', NOW + PROBE_MS)
return 'open'
