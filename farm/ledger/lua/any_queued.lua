-- any_queued(tenant, '' or 'batch', the batch's id, 'pool' or 'lane', the name of a pool, of a lane, or of a model (all its lanes),
-- id that was looked at last or ''): look at the next 500 queued jobs of the tenant or of the batch, in the order of their ids, for
-- one of this pool or lane. Answers {1 where there is one, else 0; the id that was looked at last, '' where none is left}.
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
