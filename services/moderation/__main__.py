"""`python -m services.moderation` serves."""

from services.mesh.lean import lean_imports

if __name__ == "__main__":
    with lean_imports():
        from services.mesh.run import run
        from services.moderation.main import main
        from services.moderation.settings import ModerationSettings

    run(ModerationSettings, main)
