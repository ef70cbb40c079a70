"""`python -m services.inference` serves."""

from services.mesh.lean import lean_imports

if __name__ == "__main__":
    with lean_imports():
        from services.inference.main import main
        from services.inference.settings import InferenceSettings
        from services.mesh.run import run

    run(InferenceSettings, main)
