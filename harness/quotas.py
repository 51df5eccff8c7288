"""What the supervisor takes from a worker, holds of it and does for it: so much, of everything, and no more.

    its control channel   messages   REPORTS_MAX reports, REPORT_BYTES_MAX bytes of them; one result a step, of
                                     RESULT_BYTES_MAX; one announcement; one export of each name that routes grant
                          descriptors one with each export, none with anything else
                          unread     its queue may be full for UNREAD_SECONDS
    its facets            refused    REFUSED_CONNECTS_MAX connect messages that it sent; so many that others sent over
                                     each facet
                          passed on  one is held for each facet, while the exporter's queue is full
    its refused calls     kinds      those that have a name, and REFUSED_NUMBERS_MAX others; each is counted, one
                                     answered a turn, and its caller waits: that is no offence
    its output            bytes      OUTPUT_BYTES, unless its `limits:` say otherwise

Beyond each of them it is an offender, named in the outcome, and ended. What others sent shuts the facet instead; and
where a connection is held, whoever connects waits. Of each turn of the loop a worker has so much.
"""

from typing import Final

MIB: Final = 1 << 20

REPORTS_MAX: Final = 10_000
REPORT_BYTES_MAX: Final = MIB
# A probe's has a few: what it tells of data is short.
RESULT_BYTES_MAX: Final = 64 * 1024
# For how long the queue of a worker that reads nothing may be full.
UNREAD_SECONDS: Final = 5.0
# How much of one worker is read before the others get their turn.
MESSAGES_A_TURN: Final = 32

# Honest programs send no connect message that has to be refused, mistaken ones a few.
REFUSED_CONNECTS_MAX: Final = 8
# How many connections of one facet are passed on before the others get their turn.
CONNECTIONS_A_TURN: Final = 32

# There are some hundred calls with names; of the other numbers, which are all a worker's to choose, so many are told.
REFUSED_NUMBERS_MAX: Final = 16

# Honest programs write a thousandth of it.
OUTPUT_BYTES: Final = 64 * MIB
# What is read of one pipe in one turn; and how long the next one waits, where it will not be kept. So workers that
# do nothing but write spend their time waiting, and the supervisor little of its own.
OUTPUT_BYTES_A_TURN: Final = 64 * 1024
OUTPUT_PAUSE_SECONDS: Final = 0.001
