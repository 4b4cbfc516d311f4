-- any_queued(tenant, '' or 'batch', its name, 'pool' or 'lane', which pool or lane (or model: all its lanes), id that was
-- looked at last or ''): whether one of its next 500 queued jobs is of that. Answers {1 or 0, the id looked at last, or '' at the end}.
-- uses: listing
local LOOK = 500
local tenant, kind, name, what, which, last = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local ids = redis.call('ZRANGEBYLEX', listing_key(tenant, State.QUEUED, kind, name), last ~= '' and '(' .. last or '-', '+',
  'LIMIT', 0, LOOK)
for _, id in ipairs(ids) do
  local is = redis.call('HGET', Key.job(id), what)
  if is and (is == which or (what == 'lane' and string.match(is, '^[^@+]*') == which)) then return {1, id} end
end
return {0, #ids == LOOK and ids[LOOK] or ''}
