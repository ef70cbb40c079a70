"""`python -m services.prompts` serves."""

from services.mesh.run import run
from services.prompts.main import main
from services.prompts.settings import PromptsSettings

if __name__ == "__main__":
    run(PromptsSettings, main)
