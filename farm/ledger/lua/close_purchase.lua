-- close_purchase(nonce, ending, cost, 'tenant' or 'overhead', who or '', why): close the purchase: its cost is spent, and nothing
-- is held for it any more. Needs no lease: the provider says the same to whoever asks. A purchase that is closed may still pass
-- from its tenant to the overhead account. `who`: the operator who found it out; what changes nothing is not in the log of
-- operators' acts. Answers 1 when this call closed it, else 0.
-- uses: full clock purchase
local nonce, ending, cost, payer, who, why = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local record = purchase_load(nonce)
if not record then return 0 end
local before = record.id or record.state
if purchase_close(record, ending, cost, payer == 'overhead') then
  if who ~= '' then
    redis.call('HSET', Key.purchase(nonce), 'settled_by', who)
    purchase_settled_by(record, who, why, before, ending .. ' for ' .. cost)
  end
  return 1
end
if payer == 'overhead' then purchase_waste(record) end
return 0
