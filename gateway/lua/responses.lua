-- Answers to callers that do not speak gRPC: the status that a handler of raw bodies asked for, what HTTP wants beside
-- it, none of gRPC's headers, and our words where the edge itself refused in Envoy's.
local WORDS = WORDS_OF_ENVOY
-- By code of gRPC: reason, message, OpenAI's error, grpc-status-details-bin. 0: no code of gRPC.
local BARE = BARE_STATUSES
local OPENAI_PREFIX = "OPENAI_PREFIX_OF_PATHS"
local SHOWN_MAX = 80

-- Where the message of an error in JSON stands, its quotes left out; nil if there is none.
local function message_in(body)
  local _, before = body:find('"message":"', 1, true)
  if not before then return nil end
  local at = before + 1
  while at <= #body do
    local byte = body:sub(at, at)
    if byte == '"' then return before + 1, at - 1 end
    at = at + (byte == "\\" and 2 or 1)
  end
  return nil
end

local function in_our_words(said)
  for _, row in ipairs(WORDS) do
    local found = {said:match(row[1])}
    if found[1] then
      return (row[2]:gsub("{(%d)(:?%w*)}", function(number, form)
        local text = found[tonumber(number)]
        if #text > SHOWN_MAX then return "\226\128\166" end
        return form == ":name" and text:gsub("_(%w)", string.upper) or text
      end))
    end
  end
  return nil
end

local function reword(handle)
  local body = handle:body()
  if not body then return end
  local text = body:getBytes(0, body:length())
  local first, last = message_in(text)
  local ours = first and in_our_words(text:sub(first, last))
  if ours then body:setBytes(text:sub(1, first - 1) .. ours .. text:sub(last + 1)) end
end

-- A handler of raw bodies says its headers in a parameter of the content type, where they go out with the first
-- message: name=value, parted by "|".
local function take_headers(headers, content_type)
  local kind, said = content_type:match('^([^;]+); promptmesh="([^"]*)"$')
  if not kind then return end
  headers:replace("content-type", kind)
  for name, value in said:gmatch("([%w-]+)=([^|]*)") do
    headers:replace(name, value)
  end
end

-- A gRPC server that is told to end says CANCELLED, bare, to calls that arrive before its GOAWAY is heard. Whoever reads
-- the answer did not cancel: for them the service went away, which clients try once more.
local CANCELLED, UNAVAILABLE = 1, 14

-- A status without details is the gRPC library's of a service, in its own words: it gets the shape of all others.
-- The transcoder has taken gRPC's headers away by now, so that only the body shows it.
local function shape_bare(handle, asked)
  local body = handle:body()
  if not body then return end
  local code = tonumber(body:getBytes(0, body:length()):match('^{"code":(%d+),"message":".*","details":%[%]}$'))
  if not code then return end
  if code == CANCELLED then
    code = UNAVAILABLE
    handle:headers():replace(":status", "503")
  end
  local row = BARE[code] or BARE[0]
  local request_id, path = asked:match("^(%S*) %S* (.*)$")
  local text = row[3]
  if path:sub(1, #OPENAI_PREFIX) ~= OPENAI_PREFIX then
    text = string.format(
      '{"code":%d,"message":"%s","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"%s",' ..
      '"domain":"promptmesh","metadata":{}},{"@type":"type.googleapis.com/google.rpc.RequestInfo","requestId":"%s",' ..
      '"servingData":""}]}', code, row[2], row[1], request_id)
  end
  body:setBytes(text)
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local asked = headers:get("x-promptmesh-asked")
  if asked then
    headers:remove("x-promptmesh-asked")
  end
  local status = headers:get("x-promptmesh-http-status")
  if status then
    headers:remove("x-promptmesh-http-status")
  end
  local in_envoy_words = headers:get("x-promptmesh-envoy-words")
  if in_envoy_words then
    headers:remove("x-promptmesh-envoy-words")
  end
  local content_type = headers:get("content-type")
  if content_type and content_type:find("application/grpc", 1, true) == 1 then
    -- In brackets: what is not there is no value at all, not nil, and tonumber() takes no such thing.
    local code = asked and tonumber((headers:get("grpc-status")))
    local bare = code and code ~= 0 and BARE[code] -- 0 is no error: a stream that ended without a message
    if bare and not headers:get("grpc-status-details-bin") then
      if code == CANCELLED then
        bare = BARE[UNAVAILABLE]
        headers:replace("grpc-status", tostring(UNAVAILABLE))
      end
      headers:replace("grpc-status-details-bin", bare[4])
    end
    return
  end
  -- What the edge itself tells a caller of gRPC-Web: still plain HTTP here, and made gRPC's by a filter behind this one.
  -- Nothing else is plain text and has the details of an error, which are what a client knows the reason by.
  if content_type == "text/plain" and headers:get("grpc-status-details-bin") then
    return
  end
  if content_type then
    take_headers(headers, content_type)
  end
  if status and status:find("^[45]%d%d$") then
    headers:replace(":status", status)
  end
  if headers:get(":status") == "401" then
    headers:replace("www-authenticate", "Bearer")
  end
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
  headers:remove("grpc-accept-encoding")
  headers:remove("grpc-encoding")
  headers:remove("trailer")
  if asked and asked:match("^%S* (%S*)") == "head" then -- not in the path, where anybody may write it
    -- Of nothing the compressor would make something: it is told to leave this answer as it is.
    headers:replace("cache-control", (headers:get("cache-control") or "no-store") .. ", no-transform")
    local body = handle:body()
    if body then body:setBytes("") end
    handle:headers():remove("content-length")
  elseif in_envoy_words then
    reword(handle)
  elseif asked and not status and headers:get(":status"):find("^[45]") then
    shape_bare(handle, asked)
  end
end
