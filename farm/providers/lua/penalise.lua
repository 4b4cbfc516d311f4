-- penalise(provider, key, why, pause ms, words, term ms, most ms): a shortage that all share. busy: the account's rate is halved and held,
-- its slots are what it has; credit, key: the account is parked; away: the provider. Answers when it may be asked again, ms.
local provider, key, why, pause, words = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5]
local this, account = Key.provider(provider), Key.provider_account(provider, key)
if why == 'away' then
  local until_ms = math.max(NOW + pause, number(this, 'away_until', 0))
  redis.call('HSET', this, 'away_until', until_ms, 'away_words', words)
  return until_ms
end
if why == 'busy' then
  add(this, {waited = pause / 1000})
  local taken = slots_taken(provider, key, tonumber(ARGV[6]), tonumber(ARGV[7]))
  -- many that were under way at once hear the same 429: one of them lowers the cap
  if number(account, 'lowered_ms', 0) + 1000 <= NOW then
    redis.call('HSET', account, 'cap', string.format('%.6f', math.max(LEAST_CAP, cap_of(account) / 2)), 'lowered_ms', NOW,
      'slots', math.max(1, taken - 1))
  end
  redis.call('HSET', account, 'held_until', NOW + math.max(HELD_MS, pause))
end
local until_ms = math.max(NOW + pause, number(account, 'parked_until', 0))
redis.call('HSET', account, 'parked_until', until_ms, 'parked_why', why, 'parked_words', words)
return until_ms
