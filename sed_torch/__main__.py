"""``python -m sed_torch`` is ``sed-torch``."""

from sed_torch.cli import main

if __name__ == "__main__":
    main()
