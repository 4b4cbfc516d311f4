-- audit_note(1 at the end of an audit else 0, counter, how many were wrong, ...): add what an audit found to the numbers that
-- operators see.
-- uses: full clock
if ARGV[1] == '1' then redis.call('SET', Key.audited(), NOW) end
for n = 2, #ARGV, 2 do redis.call('HINCRBY', Key.drift(), ARGV[n], ARGV[n + 1]) end
