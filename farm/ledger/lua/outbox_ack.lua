-- outbox_ack(group, entry, ...): remove entries of the outbox that were delivered or scheduled.
local key = Key.outbox()
for n = 2, #ARGV do
  redis.call('XACK', key, ARGV[1], ARGV[n])
  redis.call('XDEL', key, ARGV[n])
end
