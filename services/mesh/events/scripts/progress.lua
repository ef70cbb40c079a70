-- How far a group has come in one partition, at one moment.
-- KEYS: stream, meta.  ARGV: group.
-- Answers {epoch or '', last delivered position, lowest pending position or -1}; last delivered is -1 without a group.
local epoch = redis.call('HGET', KEYS[2], 'epoch') or ''
local delivered = -1
if redis.call('EXISTS', KEYS[1]) == 1 then
  for _, group in ipairs(redis.call('XINFO', 'GROUPS', KEYS[1])) do
    local fields = {}
    for i = 1, #group, 2 do
      fields[group[i]] = group[i + 1]
    end
    if fields['name'] == ARGV[1] then
      delivered = tonumber(string.match(fields['last-delivered-id'], '^%d+'))
    end
  end
end
local lowest = -1
if delivered >= 0 then
  local pending = redis.call('XPENDING', KEYS[1], ARGV[1])
  if pending[1] > 0 then
    lowest = tonumber(string.match(pending[2], '^%d+'))
  end
end
return {epoch, delivered, lowest}
