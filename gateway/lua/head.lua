-- HEAD of a page: asked as GET, which alone the transcoder knows. `responses.lua` leaves the body out.
function envoy_on_request(handle)
  local headers = handle:headers()
  headers:replace(":method", "GET")
  headers:replace("x-promptmesh-head", "head")
end
