"""`python -m services.inference`."""

from services.inference.main import main
from services.inference.settings import InferenceSettings
from services.mesh.run import run

if __name__ == "__main__":
    run(InferenceSettings, main)
