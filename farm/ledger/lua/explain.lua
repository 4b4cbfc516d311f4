-- explain(id): what goes before a queued job, by the rule of claim.lua, as things are now. Changes no job. Answers false where
-- there is no such job, else names and values:
--   own_ms, others_ms: predicted GPU-milliseconds of the jobs before it, of its own tenant and of all others
--   own_exact: 1; 0 where own_ms adds up the first SUMMED jobs alone
--   above_ms: GPU-milliseconds of all tenants' jobs in the tiers above
--   limit: a Limit or ''; pool_paused, lane_paused: 1 or 0
--   at_work: attempts in the pool; capacity: slots of live workers that are not locked; locked: slots of those that are
--   fits: 1 where a worker that was seen lately holds it, else 0
-- uses: full clock tier job fair fits limit permit headroom
local SUMMED = 1000
local job = job_load(ARGV[1])
if not job then return false end
-- the pool that renders it, also while its inputs are fetched
local pool, line = job.pool, tier_line(job.pool, job.tier)

local function summed(first, last)
  local total = 0
  for _, id in ipairs(redis.call('ZRANGE', Key.queue(line, job.tenant), first, last)) do
    total = total + math.floor(1000 * tonumber(redis.call('HGET', Key.job(id), 'predicted_s') or 0) + 0.5)
  end
  return total
end

local function backlog(of, tenant)
  return tonumber(redis.call('HGET', Key.backlog(of), tenant) or 0)
end

-- Its own tenant's jobs in its line: those before it are added up, or, where they are many, those from it on are subtracted.
local rank = redis.call('ZRANK', Key.queue(line, job.tenant), job.id)
local own, exact = 0, 1
if rank then
  local behind = redis.call('ZCARD', Key.queue(line, job.tenant)) - rank
  if rank <= SUMMED then
    if rank > 0 then own = summed(0, rank - 1) end
  elseif behind <= SUMMED then
    own = backlog(line, job.tenant) - summed(rank, -1)
  else
    own, exact = summed(0, SUMMED - 1), 0
  end
end

-- Other tenants' jobs: all in the tiers above, and in its own tier those that are served before its tenant's virtual time
-- has come to the job.
local others, higher = 0, 0
local weight, state = fair_weight(job.tenant), fair_state(line, job.tenant)
local time = math.max(state.time, state.clock) + own / 1000 / weight
for _, tier in ipairs(TIERS) do
  local above = tier_line(pool, tier)
  if above == line then break end
  own = own + backlog(above, job.tenant)
  for _, ms in ipairs(redis.call('HVALS', Key.backlog(above))) do higher = higher + tonumber(ms) end
  others = others - backlog(above, job.tenant)
end
others = others + higher
local standing = redis.call('ZRANGEBYSCORE', Key.fair(line), '-inf', string.format('(%.17g', time), 'WITHSCORES')
local tenants = {}
for n = 1, #standing, 2 do tenants[#tenants + 1] = standing[n] end
local queued_ms = fair_kept(Key.backlog(line), tenants, '')
fair_read_weights(line, tenants)
for n, tenant in ipairs(tenants) do
  local ms = tonumber(queued_ms[n] or 0)
  if tenant ~= job.tenant and ms > 0 then
    others = others + math.min(ms, math.floor(1000 * (time - tonumber(standing[2 * n])) * fair_weight(tenant)))
  end
end

-- As claim.lua asks: a worker whose memory nobody knows holds any job. One that starts ('|') has told nothing yet.
local function held_by_any(needs)
  if not needs then return true end
  for _, offer in ipairs(redis.call('ZRANGEBYSCORE', Key.offered(pool), NOW - Setting.ELSEWHERE_MS, '+inf')) do
    if offer ~= '|' and fits(needs, (offer_parts(offer))) then return true end
  end
  return false
end

local lane = job.lane or ''
return {
  'own_ms', own, 'own_exact', exact, 'others_ms', others, 'above_ms', higher,
  'limit', limit_binds(pool, job.tier, job.tenant)
    or rank and headroom_keeps(pool, job.tier or Tier.NORMAL, line, job.tenant) and Limit.HEADROOM or '',
  'pool_paused', limit_switched('pool', pool) and 1 or 0,
  'lane_paused', (limit_switched('lane', lane) or limit_switched('lane', string.match(lane, '^[^@+]*'))) and 1 or 0,
  'at_work', redis.call('ZCARD', Key.leases(pool)), 'capacity', workers_open(pool), 'locked', workers_locked(pool),
  'fits', held_by_any(job.needs) and 1 or 0,
}
