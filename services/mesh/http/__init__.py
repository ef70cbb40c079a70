"""Plain HTTP/1.1 beside gRPC, for methods whose messages are raw bodies (google.api.HttpBody): see `front`."""

from services.mesh.http.front import HttpFront, HttpOptions
from services.mesh.http.routes import RawMethods

__all__ = ["HttpFront", "HttpOptions", "RawMethods"]
