"""`python -m services.prompts` serves."""

from services.mesh.lean import lean_imports

if __name__ == "__main__":
    with lean_imports():
        from services.mesh.run import run
        from services.prompts.main import main
        from services.prompts.settings import PromptsSettings

    run(PromptsSettings, main)
