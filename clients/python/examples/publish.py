"""Publish a prompt, watch it pass moderation and its example being written, find it again.

PROMPTMESH_URL=http://localhost:8080 python publish.py ada@example.com "a long enough password"
"""

import os
import sys

from promptmesh import Promptmesh, types

url = os.environ.get("PROMPTMESH_URL", "http://localhost:8080")
email, password = sys.argv[1:3]

with Promptmesh(url, email=email, password=password) as client:
    post = client.posts.create(title="Three gifts", body="List three gifts for a keen gardener.", tags=["short-story"])
    print("pending", post.post_id)

    with client.posts.watch_post(post_id=post.post_id, timeout_s=60) as events:
        for event in events:
            if event.HasField("example_delta"):
                print("…", event.example_delta.text)
            elif event.HasField("post"):
                post = event.post
                print(types.PostState.Name(post.state), types.ExampleState.Name(post.example.state))
                if post.state in (types.POST_STATE_HELD, types.POST_STATE_REJECTED):
                    print("because", [reason.message for reason in post.reasons])
                    break
                if post.example.state == types.EXAMPLE_STATE_READY:
                    break

    for found in client.posts.list(tag="short-story", page_size=10):  # every page, as it is needed
        print("found", found.title, "by", found.author_name)

    changed = client.posts.update(
        post=types.Post(post_id=post.post_id, title="Four gifts", etag=post.etag), update_mask=["title"]
    )
    print("revision", changed.revision)
    client.posts.delete(post_id=post.post_id)
