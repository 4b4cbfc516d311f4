-- purchase_told(id of the job, nonce, the provider's id in the callback or ''): a callback came to the address of this purchase.
-- Whoever follows the purchase is told to ask the provider; the callback itself decides nothing. Answers 1, or 0 where there is
-- no such purchase.
-- uses: full clock purchase
local id, nonce, purchase_id = unpack(ARGV)
if redis.call('HGET', Key.purchase(nonce), 'job') ~= id then return 0 end
if purchase_id ~= '' then redis.call('HSETNX', Key.purchase(nonce), 'told', purchase_id) end
purchase_news(nonce)
return 1
