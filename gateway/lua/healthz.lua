-- GET /healthz: asks Envoy's administration which processes pass their health checks. 200 if every service has one
-- that does, else 503; the body names each service. Remembered, so that being asked often costs nothing.
-- Each service's clusters, the first of which has its name.
local SERVICES = CLUSTERS_OF_THE_MESH
local REMEMBERED_MS = 250
local TIMEOUT_MS = 1000
local asked_ms, status, body = -REMEMBERED_MS, nil, nil

local function ask(handle)
  local headers, clusters = handle:httpCall("edge_admin",
    {[":method"] = "GET", [":path"] = "/clusters", [":authority"] = "edge_admin"}, nil, TIMEOUT_MS)
  local serving = {}
  if headers[":status"] == "200" and clusters then
    for name, flags in clusters:gmatch("([%w_]+)::[^\n]-::health_flags::([^\n]*)") do
      if flags == "healthy" then serving[name] = true end
    end
  end
  local all, parts = true, {}
  for _, clusters_of in ipairs(SERVICES) do
    local up = true
    for _, name in ipairs(clusters_of) do up = up and serving[name] end
    all = all and up
    parts[#parts + 1] = string.format('"%s":"%s"', clusters_of[1], up and "SERVING" or "NOT_SERVING")
  end
  status = all and "200" or "503"
  body = string.format('{"status":"%s","services":{%s}}\n', all and "SERVING" or "NOT_SERVING", table.concat(parts, ","))
end

function envoy_on_request(handle)
  local now_ms = handle:timestamp()
  if now_ms - asked_ms >= REMEMBERED_MS then
    ask(handle)
    asked_ms = now_ms
  end
  handle:respond({[":status"] = status, ["content-type"] = "application/json"}, body)
end
