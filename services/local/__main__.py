"""`python -m services.local` is `promptmesh`."""

from services.local.cli import main

if __name__ == "__main__":
    main()
