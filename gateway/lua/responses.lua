-- Answers to callers that do not speak gRPC: the status that a handler of raw bodies asked for, and none of gRPC's headers.
function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("x-promptmesh-http-status")
  if status then
    headers:remove("x-promptmesh-http-status")
  end
  local content_type = headers:get("content-type")
  if content_type and content_type:find("application/grpc", 1, true) == 1 then
    return
  end
  if status and status:find("^[45]%d%d$") then
    headers:replace(":status", status)
  end
  headers:remove("grpc-status")
  headers:remove("grpc-message")
  headers:remove("grpc-status-details-bin")
  headers:remove("grpc-accept-encoding")
  headers:remove("grpc-encoding")
  headers:remove("trailer")
end
