"""What a line of a manifest may say, and how a CSV's texts are read."""

from farm.batches.cells import kinds_of
from farm.wire.own_batches import NAME_LISTS, BatchShot

#: column -> how its text is read
COLUMNS = kinds_of(BatchShot, NAME_LISTS)
