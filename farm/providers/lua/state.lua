-- state(provider, concurrency, term ms, most ms, key, ...): for people and metrics. Answers {paused since ms or 0, away until, words, opened
-- ms, probe at, asked, failed as text, {key, parked until, why, words, cap as text, slots, in use, ...}, NOW}.
local provider, most, term, slot_ms = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local this = Key.provider(provider)
local keys = {}
for n = 5, #ARGV do
  local account = Key.provider_account(provider, ARGV[n])
  local parked = number(account, 'parked_until', 0)
  local is = parked > NOW
  for _, value in ipairs({ARGV[n], is and parked or 0, is and redis.call('HGET', account, 'parked_why') or '',
    is and redis.call('HGET', account, 'parked_words') or '', string.format('%.4f', cap_of(account)),
    slots_of(account, most), slots_taken(provider, ARGV[n], term, slot_ms)}) do table.insert(keys, value) end
end
local asked, failed = counts_of(this)
local away = number(this, 'away_until', 0)
return {tonumber(redis.call('HGET', Key.switches(), 'provider ' .. provider) or 0), away > NOW and away or 0,
  redis.call('HGET', this, 'away_words') or '', number(this, 'opened_ms', 0), number(this, 'probe_at', 0),
  string.format('%.4f', asked), string.format('%.4f', failed), keys, NOW}
