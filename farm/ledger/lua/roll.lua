-- roll(pool, cursor, about how many): some of the pool's live workers. Answers {next cursor, "state until lane worker\n..."}; `until`:
-- how long it counts as live, ms; `lane`: '-' where none is loaded. One text, so that ten thousand are read fast. A worker that
-- comes or goes between two calls may be told, or not, or twice.
-- uses: clock
local pool, cursor, count = unpack(ARGV)
local found = redis.call('HSCAN', Key.notes(pool), cursor, 'COUNT', count)
local names, states, lines = {}, {}, {}
for n = 1, #found[2], 2 do
  names[#names + 1] = found[2][n]
  states[#states + 1] = string.match(found[2][n + 1], '^%d+ (%S+)')
end
if #names == 0 then return {found[1], ''} end
local ends = redis.call('ZMSCORE', Key.workers(pool), unpack(names))
local facts = redis.call('HMGET', Key.facts(pool), unpack(names))
for n, worker in ipairs(names) do
  if ends[n] and tonumber(ends[n]) > NOW and facts[n] then
    -- JSON as Python writes it; a quote within a text has a backslash before it
    local lane = string.match(facts[n], '"lane": "([^"]+)"') or '-'
    lines[#lines + 1] = table.concat({states[n], ends[n], lane, worker}, ' ')
  end
end
return {found[1], table.concat(lines, '\n')}
