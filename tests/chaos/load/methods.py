"""Methods of the contracts by the names that each client has for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode


@dataclass(frozen=True)
class Method:
    """`body`: field that alone is sent as the body over REST; empty: all that the path does not take."""

    service: str
    python: str
    typescript: str
    request: str
    verb: str
    path: str
    body: str = ""

    def rest(self, fields: dict[str, Any]) -> tuple[str, str, Any]:
        """Verb, path with its query, and body."""
        left = dict(fields)
        if self.body:
            of_body = dict(left.pop(self.body))
            names = {name: of_body.pop(name) for name in list(of_body) if f"{{{name}}}" in self.path}
            path = self.path.format(**names)
        else:
            names = {name: left.pop(name) for name in list(left) if f"{{{name}}}" in self.path}
            path, of_body = self.path.format(**names), left
        if self.verb in ("GET", "DELETE") or self.body:
            query = urlencode(list(left.items()))
            path = f"{path}?{query}" if query else path
        return self.verb, path, of_body if self.verb in ("POST", "PATCH", "PUT") else None


CREATE_POST = Method("posts", "create", "createPost", "CreatePostRequest", "POST", "/api/v1/posts")
UPDATE_POST = Method("posts", "update", "updatePost", "UpdatePostRequest", "PATCH", "/api/v1/posts/{postId}", "post")
DELETE_POST = Method("posts", "delete", "deletePost", "DeletePostRequest", "DELETE", "/api/v1/posts/{postId}")
LIKE_POST = Method("posts", "like", "likePost", "LikePostRequest", "POST", "/api/v1/posts/{postId}:like")
UNLIKE_POST = Method("posts", "unlike", "unlikePost", "UnlikePostRequest", "POST", "/api/v1/posts/{postId}:unlike")
GET_POST = Method("posts", "get", "getPost", "GetPostRequest", "GET", "/api/v1/posts/{postId}")
LIST_POSTS = Method("posts", "list", "listPosts", "ListPostsRequest", "GET", "/api/v1/posts")
WATCH_FEED = Method("posts", "watch_feed", "watchFeed", "WatchFeedRequest", "GET", "/api/v1/feed:watch")
LIST_CASES = Method("moderation", "list_cases", "listCases", "ListCasesRequest", "GET", "/api/v1/moderation/cases")
RESOLVE_CASE = Method(
    "moderation",
    "resolve_case",
    "resolveCase",
    "ResolveCaseRequest",
    "POST",
    "/api/v1/moderation/cases/{caseId}:resolve",
)
REGISTER = Method("auth", "register", "register", "RegisterRequest", "POST", "/api/v1/users")
LOG_IN = Method("auth", "create_session", "createSession", "CreateSessionRequest", "POST", "/api/v1/sessions")
REFRESH = Method(
    "auth", "refresh_session", "refreshSession", "RefreshSessionRequest", "POST", "/api/v1/sessions:refresh"
)
LOG_OUT = Method(
    "auth", "delete_session", "deleteSession", "DeleteSessionRequest", "DELETE", "/api/v1/sessions/current"
)
GET_ME = Method("auth", "get_me", "getMe", "GetMeRequest", "GET", "/api/v1/users/me")
CREATE_KEY = Method("auth", "create_api_key", "createApiKey", "CreateApiKeyRequest", "POST", "/api/v1/apiKeys")
REVOKE_KEY = Method(
    "auth", "revoke_api_key", "revokeApiKey", "RevokeApiKeyRequest", "DELETE", "/api/v1/apiKeys/{apiKeyId}"
)
GENERATE = Method("inference", "generate", "generate", "GenerateRequest", "POST", "/api/v1/generate")
LIST_MODELS = Method("inference", "list_models", "listModels", "ListModelsRequest", "GET", "/api/v1/models")
