-- NOW: the only clock of the ledger, ms since the epoch on this server; one reading per script.
local NOW
do
  local time = redis.call('TIME')
  NOW = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end
