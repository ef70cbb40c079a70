"""Register, make an API key, ask a model.

PROMPTMESH_URL=http://localhost:8080 python quickstart.py ada@example.com "a long enough password"
"""

import os
import sys

from promptmesh import AlreadyExistsError, Promptmesh

url = os.environ.get("PROMPTMESH_URL", "http://localhost:8080")
email, password = sys.argv[1:3]

with Promptmesh(url) as anyone:
    try:
        anyone.auth.register(email=email, password=password, display_name=email.split("@")[0])
    except AlreadyExistsError:
        print("registered before")

with Promptmesh(url, email=email, password=password) as person:
    made = person.auth.create_api_key(display_name="laptop", scopes=["inference:invoke"])
    print("key", made.api_key.prefix)  # `made.secret` is shown once: keep it where you keep secrets

with Promptmesh(url, api_key=made.secret) as client:
    for model in client.inference.list_models():
        print("model", model.name)
    answer = client.inference.generate_text("Say hello in five words.")
    print(answer.text)
    tokens, cost = answer.usage.output_tokens, answer.usage.cost_nanos / 1e9
    print(f"{answer.model}: {tokens} tokens, {cost:.6f} US dollars")
