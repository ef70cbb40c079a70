"""OpenAI's Responses, spoken to providers as chat completions: requests one way, answers and events the other.

Nothing is stored. So a conversation comes whole with each request, and what refers to something stored is refused.
"""

from services.inference.openai.responses.answers import answer
from services.inference.openai.responses.requests import Asked, call_of, count
from services.inference.openai.responses.streams import Events

__all__ = ["Asked", "Events", "answer", "call_of", "count"]
