"""`python -m isthmus`, and so `torchrun -m isthmus`."""

from isthmus.cli import main

main()
