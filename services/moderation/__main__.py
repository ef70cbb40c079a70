"""`python -m services.moderation`."""

from services.mesh.run import run
from services.moderation.main import main
from services.moderation.settings import ModerationSettings

if __name__ == "__main__":
    run(ModerationSettings, main)
