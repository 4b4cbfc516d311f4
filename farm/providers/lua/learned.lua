-- learned(provider, model): {asked, failed, part of its price that a failed job came to, seconds of a job or '', seconds that the
-- provider's 429s cost a job}, all as text, decayed.
local key = Key.provider_model(ARGV[1], ARGV[2])
local asked, failed = counts_of(key)
local weight = number(key, 'took_of', 0)
local this = Key.provider(ARGV[1])
local waited = number(this, 'waited', 0) * left(number(this, 'at', NOW))
local failures = number(key, 'failed', 0)
return {string.format('%.4f', asked), string.format('%.4f', failed),
  string.format('%.4f', failures > 0 and number(key, 'lost', 0) / failures or 0),
  weight > 0 and string.format('%.4f', number(key, 'took', 0) / weight) or '',
  string.format('%.4f', waited / math.max(1, (counts_of(this))))}
