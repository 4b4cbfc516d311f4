-- learned(provider, model): {asked, failed, seconds of a job or '', seconds that a 429 cost or ''}, all as text, decayed.
local key = Key.provider_model(ARGV[1], ARGV[2])
local asked, failed = counts_of(key)
local answer = {string.format('%.4f', asked), string.format('%.4f', failed)}
for _, field in ipairs({'took', 'waited'}) do
  local weight = number(key, field .. '_of', 0)
  table.insert(answer, weight > 0 and string.format('%.4f', number(key, field, 0) / weight) or '')
end
return answer
