-- outbox_ack(group, entry, ...): these were delivered, or are scheduled elsewhere: they are removed.
local key = Key.outbox()
for n = 2, #ARGV do
  redis.call('XACK', key, ARGV[1], ARGV[n])
  redis.call('XDEL', key, ARGV[n])
end
