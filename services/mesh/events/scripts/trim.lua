-- Removes what every group has done from one partition's stream, and holds it below a cap.
-- KEYS: stream, meta.  ARGV: cap (entries), candidate.
-- Over the cap, entries go that a group still wanted: a new epoch tells consumers to ask the producer.
-- Answers {removed, 1 if the cap cut what was wanted, else 0}.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {0, 0}
end
local groups = redis.call('XINFO', 'GROUPS', KEYS[1])
local lowest = nil
for _, group in ipairs(groups) do
  local fields = {}
  for i = 1, #group, 2 do
    fields[group[i]] = group[i + 1]
  end
  local needed = tonumber(string.match(fields['last-delivered-id'], '^%d+')) + 1
  local pending = redis.call('XPENDING', KEYS[1], fields['name'])
  if pending[1] > 0 then
    needed = math.min(needed, tonumber(string.match(pending[2], '^%d+')))
  end
  lowest = lowest and math.min(lowest, needed) or needed
end
local removed = 0
if lowest then
  removed = redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%.0f', lowest) .. '-0')
end
local length, cap = redis.call('XLEN', KEYS[1]), tonumber(ARGV[1])
if length <= cap then
  return {removed, 0}
end
-- A tenth below the cap, so that not every trim of a backlog makes a new epoch.
removed = removed + redis.call('XTRIM', KEYS[1], 'MAXLEN', math.floor(cap * 0.9))
redis.call('HSET', KEYS[2], 'epoch', ARGV[2])
return {removed, 1}
