-- Adds events to one partition's stream, each at its position, and never twice.
-- KEYS: stream, meta.  ARGV: expected, log_head, candidate, then position and envelope of each event, ascending.
--   expected   last position that the producer's database knows to be published in this partition
--   log_head   last position of the producer's log
--   candidate  name of a new epoch, should one be due
-- Answers {epoch, head, how many were added}.
local expected, log_head = tonumber(ARGV[1]), tonumber(ARGV[2])
local known = redis.call('HMGET', KEYS[2], 'epoch', 'head')
local epoch, head = known[1], tonumber(known[2] or '-1')

if not epoch or head < expected or head > log_head then
  -- Redis lost data (all of it, or what came after an older state), or the producer's log went back to an older state and
  -- its positions will mean other events. Either way consumers must ask the producer for what they miss: a new epoch
  -- tells them.
  if epoch and head > log_head then
    redis.call('DEL', KEYS[1])
  end
  epoch, head = ARGV[3], expected
  if redis.call('EXISTS', KEYS[1]) == 1 then
    -- The stream may hold more than meta says; Redis refuses ids that are not greater than its last.
    local info = redis.call('XINFO', 'STREAM', KEYS[1])
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        local last = tonumber(string.match(info[i + 1], '^%d+'))
        if last > log_head then
          redis.call('DEL', KEYS[1])
        elseif last > head then
          head = last
        end
      end
    end
  end
  redis.call('HSET', KEYS[2], 'epoch', epoch, 'base', expected, 'head', head)
end

local added = 0
local last = head
for i = 4, #ARGV, 2 do
  local position = tonumber(ARGV[i])
  if position > head then
    redis.call('XADD', KEYS[1], ARGV[i] .. '-0', 'e', ARGV[i + 1])
    last = position
    added = added + 1
  end
end
if added > 0 then
  redis.call('HSET', KEYS[2], 'head', last)
end
return {epoch, last, added}
