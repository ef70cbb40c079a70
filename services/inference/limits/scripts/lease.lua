-- Slices of the limits of one organisation, leased to processes. All keys carry the organisation's hash tag.
--
-- KEYS[1]   the organisation: `epoch`, and for each process "<lease's end, ms> <sequence> <reported, us>"
-- KEYS[2..] a limit of a subject:
--           win   begin of the window, s      u    used up in it (settled, seeded, or of processes that are gone)
--           pv    used in the window before   sd   "1": what was used before Redis knew is in `u`
--           s     until when it is scarce, ms
--           and for each process "<generation> <settled> <leased> <swept> <generation before> <contribution before>"
-- ARGV      process, sequence, lease_ms (0: it holds nothing here), epoch, mode, reported_us; then for each limit
--           type ("a" always, "m" sliding minute, "d" calendar), limit, window's begin and end in s, generation, settled,
--           keep, first need, need, more, seed, unflushed ("" for none of the last two)
--
-- What a process states is absolute: `settled` is all that it has settled in this window since `generation` began, and
-- `keep` is all that it holds. So a statement that is repeated, or whose answer was lost, does no harm, and one that
-- arrives after a newer one is refused by its sequence.
-- For each limit and window: u + the sum of what is leased <= limit. Where a limit was lowered, nothing more is leased.
--
-- Modes: "use"; "make" (the organisation is new here, or Redis was emptied: take this epoch); "retire" (the process is
-- gone: `settled` is added, and what it held comes back).
-- Answers {"ok", now_ms, processes, then for each limit: status, granted, used, used before, leased, scarce};
-- {"new"}, {"epoch", epoch} or {"stale"}, with now_ms, where nothing was done.
-- Status: 0 done, 1 the window is over, 2 it has not begun, 3 a seed is needed.

local FORGET_MS = 600000 -- a process that was silent so long is forgotten: no late statement of it can be on its way
local SCARCE_MS = 1000
local ORG_TTL_MS = 35 * 86400000 -- longer than the longest window
local TTL_MS = {a = 86400000, m = 240000, d = ORG_TTL_MS}
local EXACT = 9007199254740992 -- 2^53: above it Lua's numbers have gaps, which the margin covers
local MARGIN = 4096
local RETIRED = '9007199254740991'

local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local me, seq, lease_ms, epoch, mode, reported = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]

local function int(number)
  return string.format('%.0f', number)
end

local alive, processes, known_epoch = {}, 0, nil
local flat = redis.call('HGETALL', KEYS[1])
for i = 1, #flat, 2 do
  local name, value = flat[i], flat[i + 1]
  if name == 'epoch' then
    known_epoch = value
  else
    local ends, last = string.match(value, '^(%S+) (%S+)')
    ends = tonumber(ends)
    if name == me then
      if seq <= tonumber(last) then
        return {'stale', now_ms}
      end
    elseif ends > now_ms then
      alive[name] = true
      processes = processes + 1
    elseif now_ms - ends > FORGET_MS then
      redis.call('HDEL', KEYS[1], name)
    end
  end
end
if known_epoch ~= epoch then
  if mode ~= 'make' then
    if known_epoch then
      return {'epoch', now_ms, known_epoch}
    end
    return {'new', now_ms}
  end
  redis.call('HSET', KEYS[1], 'epoch', epoch)
end
if mode == 'retire' then
  redis.call('HSET', KEYS[1], me, int(now_ms) .. ' ' .. RETIRED .. ' ' .. reported)
else
  redis.call('HSET', KEYS[1], me, int(now_ms + lease_ms) .. ' ' .. ARGV[2] .. ' ' .. reported)
  alive[me] = true
  processes = processes + 1
end
redis.call('PEXPIRE', KEYS[1], ORG_TTL_MS)

local answer = {'ok', now_ms, processes}

local function say(status, granted, used, before, leased, scarce)
  local n = #answer
  answer[n + 1], answer[n + 2], answer[n + 3] = status, granted, used
  answer[n + 4], answer[n + 5], answer[n + 6] = before, leased, scarce
end

local function read(key)
  local limit = {key = key, win = 0, u = 0, pv = 0, s = 0, of = {}, changed = {}, gone = {}}
  local fields = redis.call('HGETALL', key)
  for i = 1, #fields, 2 do
    local name, value = fields[i], fields[i + 1]
    if name == 'sd' then
      limit.sd = value
    elseif limit[name] then
      limit[name] = tonumber(value)
    else
      local g, a, w, x, pg, p = string.match(value, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
      limit.of[name] = {g = tonumber(g), a = tonumber(a), w = tonumber(w), x = tonumber(x),
                        pg = tonumber(pg), p = tonumber(p)}
    end
  end
  limit.there = #fields > 0
  return limit
end

local function write(limit, kind)
  local fields = {'win', int(limit.win), 'u', int(limit.u), 'pv', int(limit.pv), 's', int(limit.s)}
  if limit.sd then
    fields[#fields + 1] = 'sd'
    fields[#fields + 1] = limit.sd
  end
  local gone = {}
  for name in pairs(limit.changed) do
    local e = limit.of[name]
    if e.a == 0 and e.w == 0 and e.x == 0 and e.p == 0 and e.g == 0 then
      gone[#gone + 1] = name
    else
      fields[#fields + 1] = name
      fields[#fields + 1] = int(e.g) .. ' ' .. int(e.a) .. ' ' .. int(e.w) .. ' ' .. int(e.x) .. ' '
                            .. int(e.pg) .. ' ' .. int(e.p)
    end
  end
  redis.call('HSET', limit.key, unpack(fields))
  if #gone > 0 then
    redis.call('HDEL', limit.key, unpack(gone))
  end
  redis.call('PEXPIRE', limit.key, TTL_MS[kind])
end

-- A new window: what was leased in the one before counts as used in it until its process says otherwise.
local function roll(limit, kind, win)
  local follows = kind == 'm' and limit.win == win - 60
  local before = limit.u
  for name, e in pairs(limit.of) do
    before = before + e.w
    e.pg, e.p = e.g, follows and e.a + e.w + e.x or 0
    e.g, e.a, e.w, e.x = 0, 0, 0, 0
    limit.changed[name] = true
  end
  limit.pv = follows and before or 0
  limit.win, limit.u, limit.s = win, 0, 0
end

-- Processes whose lease has ended: their calls at once are over; the rest counts in full until they say otherwise.
local function sweep(limit, kind)
  local leased = 0
  for name, e in pairs(limit.of) do
    if e.w > 0 and not alive[name] then
      if kind ~= 'a' then
        limit.u, e.x = limit.u + e.w, e.x + e.w
      end
      e.w = 0
      limit.changed[name] = true
    end
    if kind == 'a' and e.g > 0 and not alive[name] then
      e.g = 0 -- nothing of it is left to correct
      limit.changed[name] = true
    end
    leased = leased + e.w
  end
  return leased
end

local function entry(limit)
  local e = limit.of[me]
  if not e then
    e = {g = 0, a = 0, w = 0, x = 0, pg = 0, p = 0}
    limit.of[me] = e
  end
  limit.changed[me] = true
  return e
end

for k = 2, #KEYS do
  local at = 6 + (k - 2) * 12
  local kind, most, win, ends = ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local generation, settled, keep = tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local first, need, more = tonumber(ARGV[at + 8]), tonumber(ARGV[at + 9]), tonumber(ARGV[at + 10])
  local seed, unflushed = tonumber(ARGV[at + 11]), tonumber(ARGV[at + 12])
  local limit = read(KEYS[k])
  local over = kind ~= 'a' and (now_ms >= ends * 1000 or limit.win > win)

  if mode == 'retire' then
    if limit.there and (kind == 'a' or limit.win == win) then
      local e = entry(limit)
      limit.u = limit.u + settled - e.x
      e.w, e.x = 0, 0
      write(limit, kind)
    end
    say(0, 0, limit.u, limit.pv, 0, 0)
  elseif kind ~= 'a' and now_ms < win * 1000 then
    say(2, 0, limit.u, limit.pv, 0, 0)
  elseif over then
    -- What is told of a window that is over corrects the one before; of others nobody asks any more.
    if kind == 'm' and limit.there then
      if limit.win == win then
        local e = entry(limit)
        limit.u = limit.u + settled - (e.g == generation and e.a or 0) - e.x
        e.g, e.a, e.w, e.x = generation, settled, keep, 0
        write(limit, kind)
      elseif limit.win == win + 60 and limit.of[me] and limit.of[me].pg == generation then
        local e = entry(limit)
        limit.pv = limit.pv + settled + keep - e.p
        e.p = settled + keep
        write(limit, kind)
      end
    end
    say(1, 0, limit.u, limit.pv, 0, 0)
  elseif kind == 'd' and limit.sd ~= '1' and not seed then
    say(3, 0, 0, 0, 0, 0)
  else
    if limit.win < win then
      roll(limit, kind, win)
    end
    if kind == 'd' and limit.sd ~= '1' then
      limit.u, limit.sd = limit.u + seed, '1'
    end
    local fresh = limit.of[me] == nil
    local e = entry(limit)
    if fresh and unflushed then
      limit.u = limit.u + unflushed -- settled before Redis was emptied, and not in the seed
    else
      limit.u = limit.u + settled - (e.g == generation and e.a or 0) - e.x
    end
    e.g, e.a, e.w, e.x = generation, settled, keep, 0

    local leased, granted, scarce = sweep(limit, kind), 0, limit.s > now_ms
    if need > 0 or more > 0 then
      local used = limit.u
      if kind == 'm' and limit.pv > 0 then
        used = used + math.ceil(limit.pv * (ends * 1000 - now_ms) / 60000)
      end
      if most > EXACT then
        used = used + MARGIN
      end
      local left = most - used - leased
      if need > 0 then
        if left >= first then
          granted = math.min(left, need)
        end
        if granted < need then
          limit.s, scarce = now_ms + SCARCE_MS, true
        end
      end
      if more > 0 and not scarce then
        granted = granted + math.max(0, math.min(more, math.floor((left - granted) / (4 * processes))))
      end
      e.w = e.w + granted
    end
    write(limit, kind)
    say(0, granted, limit.u, limit.pv, leased + granted, scarce and 1 or 0)
  end
end
return answer
