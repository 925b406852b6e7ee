"`python -m tiktok_mm` is the command `tiktok-mm`. Written by hand: nbdev makes no module of this name."

from .cli import main

if __name__ == "__main__":
    main()
