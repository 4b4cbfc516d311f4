-- never_sent(nonce): the process that was to send this order has not, and never will. Its purchase stays open: who follows
-- it closes it, unless the same order was sent again under its key. Answers 1, or 0 where there is no such open purchase.
-- uses: full clock purchase
local nonce = ARGV[1]
local record = purchase_load(nonce)
if not record or record.state ~= Purchase.OPEN or record.id then return 0 end
redis.call('HSET', Key.purchase(nonce), 'unsent', 1)
purchase_news(nonce)
return 1
